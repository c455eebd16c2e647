// The daemon's API, from the page's side: what it answers, or why not.

/** An answer that is none: a problem (RFC 9457), or no answer at all. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? "the daemon does not answer");
    this.status = status;
    this.title = problem?.title ?? (status ? `Status ${status}` : "No answer");
    this.parameter = problem?.parameter;
    this.allowed = problem?.allowed;
    this.value = problem?.value;
  }

  /** Whether this daemon has no such thing. */
  get isAbsent() {
    return this.status === 404 || this.status === 405;
  }
}

async function request(path, options) {
  let response;
  try {
    // Who asks here wants what is so now: nothing that was kept is shown without asking whether it still holds.
    response = await fetch(path, { cache: "no-cache", headers: { accept: "application/json", ...options?.headers }, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0);
  }
  const body = await response.json().catch(() => undefined);
  if (!response.ok) throw new ApiError(response.status, body);
  return body;
}

/** What is at a path. */
export const get = (path, signal) => request(path, { signal });

/** Several questions, answered from one view: answers and problems in the order asked. */
export async function query(queries) {
  const headers = { accept: "application/json", "content-type": "application/json" };
  const answer = await request("/query", { method: "POST", headers, body: JSON.stringify({ queries }) });
  return answer.answers.map((each) => (each.problem ? new ApiError(each.problem.status, each.problem) : each));
}

const absent = new Set();

/** Values of a label that were observed, those with this text in them; none where the daemon cannot tell. */
export async function labelValues(metricPath, label, text, signal) {
  if (absent.has("labels")) return [];
  const match = text.includes("*") ? text : `*${text}*`;
  const parameters = new URLSearchParams(text ? { match, limit: "50" } : { limit: "50" });
  try {
    return (await get(`${metricPath}/labels/${encodeURIComponent(label)}?${parameters}`, signal)).values;
  } catch (error) {
    if (error.isAbsent) absent.add("labels");
    return [];
  }
}

/** A query string that people can read: only what must be escaped is, and brackets, which `curl` takes for patterns. */
export function queryString(pairs) {
  const escape = (text) => encodeURIComponent(text).replace(/%(3A|2C|2F|40|24)/gi, decodeURIComponent);
  return pairs.map(([name, value]) => `${escape(name)}=${escape(value)}`).join("&");
}
