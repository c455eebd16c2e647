// Following an answer: the daemon tells when it has changed.

/** Opens the stream of the answer at that path. `say` is told in words how it goes; the result ends it. */
export function follow(path, { onAnswer, onProblem, say, onGone }) {
  const [base, parameters] = path.split("?");
  const source = new EventSource(`${base}/stream${parameters ? `?${parameters}` : ""}`);
  source.addEventListener("open", () => say("connected"));
  const show = paced((text) => onAnswer(JSON.parse(text)));
  source.addEventListener("answer", (event) => show(event.data));
  source.addEventListener("problem", (event) => onProblem(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) {
      onGone();
    } else {
      say("the connection is lost; trying again");
    }
  });
  return () => {
    source.close();
    show.end();
  };
}

/** Calls with the newest of what comes, and leaves three times as long as it took for everything else. */
function paced(call) {
  let timer;
  let free = 0;
  let newest;
  const run = () => {
    timer = undefined;
    const began = performance.now();
    call(newest);
    free = performance.now() + 3 * (performance.now() - began);
  };
  const show = (value) => {
    newest = value;
    timer ??= setTimeout(run, Math.max(0, free - performance.now()));
  };
  show.end = () => clearTimeout(timer);
  return show;
}
