// Following an answer: the daemon tells when it has changed.

/** Opens the stream of the answer at that path. `say` is told in words how it goes; the result ends it. */
export function follow(path, { onAnswer, onProblem, say, onGone }) {
  const [base, parameters] = path.split("?");
  const source = new EventSource(`${base}/stream${parameters ? `?${parameters}` : ""}`);
  source.addEventListener("open", () => say("connected"));
  source.addEventListener("answer", (event) => onAnswer(JSON.parse(event.data)));
  source.addEventListener("problem", (event) => onProblem(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) {
      onGone("this daemon does not stream that answer");
    } else {
      say("the connection is lost; trying again");
    }
  });
  return () => source.close();
}
