// What all pages share: which daemon is asked, one request for all that a page shows, and what is wrong, in words.
// A plain script and no module, because browsers load no modules from file://.
"use strict";

const Dashboard = (() => {
  const { h, byId, day, span, note } = Show;

  /** All pages, in the order of the menu. */
  const PAGES = [
    { file: "volume.html", name: "Volume", plugins: ["volume"], about: "Messages over time, by category." },
    { file: "contributions.html", name: "Contributions", plugins: ["contributions"], about: "A person's year as a calendar, and who is most active." },
    { file: "usage.html", name: "Usage", plugins: ["usage"], about: "Links of a catalogue: most used, by how many, by whom." },
    { file: "membership.html", name: "Membership", plugins: ["membership"], about: "Distinct members and cities of each group." },
    { file: "storage.html", name: "Storage", plugins: ["storage"], about: "What projects take, summed up along their namespaces." },
    { file: "uptime.html", name: "Uptime", plugins: ["uptime"], about: "Which sites are up, how reliable they were, how fast they answer." },
    { file: "releng.html", name: "Releases", plugins: ["releng"], about: "Composes, updates, images: the newest of each." },
    { file: "releng-legacy.html", name: "Releases, old API", plugins: ["releng"], about: "The same, asked with the JSONP calls of the original dashboard." },
  ];
  /** Milliseconds after which an answer is not waited for any more. */
  const PATIENCE = 20e3;
  const HERE = new URL(location.href);
  const SERVED_BY_DAEMON = /^https?:$/.test(HERE.protocol) && HERE.pathname.includes("/dashboards/");

  /** Where the daemon is: as the page's URL says, else who served the page, else this machine. Ends with a slash. */
  const daemon = (() => {
    const fallback = SERVED_BY_DAEMON ? new URL("../", HERE) : new URL("http://127.0.0.1:8888/");
    const named = HERE.searchParams.get("daemon");
    if (!named) return fallback;
    try {
      const url = new URL(named.replace(/\/*$/, "/"));
      return /^https?:$/.test(url.protocol) ? url : fallback;
    } catch {
      return fallback;
    }
  })();

  /** A link to another page, which asks the same daemon. */
  const pageUrl = (file, parameters = {}) => {
    const search = new URLSearchParams(parameters);
    const named = HERE.searchParams.get("daemon");
    if (named) search.set("daemon", named);
    return search.size ? `${file}?${search}` : file;
  };
  /** What is thrown when nobody answers. */
  class Gone extends Error {}

  /** What the daemon says at a path; throws its words where it says that something is wrong. */
  const get = async (path, options) => {
    const asked = { cache: "no-cache", signal: AbortSignal.timeout(PATIENCE), ...options };
    const response = await fetch(new URL(path, daemon), asked).catch(() => {
      throw new Gone(`The daemon at ${daemon} does not answer.`);
    });
    const body = await response.json().catch(() => {
      throw new Error(`What is at ${daemon} answers with status ${response.status} and no JSON: is it the daemon?`);
    });
    if (!response.ok) throw new Error(body.detail ?? body.title);
    return body;
  };

  /** Asks several questions at once: each gets the answer under its name, all from one moment. */
  const query = async (questions) => {
    const body = JSON.stringify({ queries: Object.values(questions) });
    const all = await get("query", { method: "POST", headers: { "content-type": "application/json" }, body });
    return { asOf: Date.parse(all.as_of), answers: Object.fromEntries(Object.keys(questions).map((name, at) => [name, all.answers[at]])) };
  };

  /** What a reader has to know of answers before the figures: not there, behind, cut off where the question wanted all. */
  const remarks = (asked, answers) => {
    const notes = new Map();
    for (const [name, { problem, partial, truncated }] of Object.entries(answers)) {
      if (problem) notes.set(problem.detail, note("bad", problem.detail ?? problem.title));
      if (partial) notes.set("partial", note("busy", "The plugin is still reading messages that are there: these figures are not up to date yet."));
      if (truncated && !asked[name].limit) notes.set("truncated", note("busy", "There are more rows than the daemon gives at once: some are left out here."));
    }
    return [...notes.values(), unseen(answers)].filter(Boolean);
  };

  /** Of the longest time that was asked for: how much of it was not seen. */
  const unseen = (answers) => {
    const length = ({ start, end }) => Date.parse(end) - Date.parse(start);
    const seen = Object.values(answers).filter(({ coverage, start }) => coverage?.length && start);
    const longest = seen.reduce((most, one) => (length(one) > length(most ?? one) - 1 ? one : most), undefined);
    const missing = (longest?.coverage ?? []).filter(({ coverage }) => coverage === "missing").reduce((sum, run) => sum + length(run), 0);
    return missing > 0 && note("", `The bus was not seen for ${span(missing)} of this time (${span(length(longest))} from ${day(longest.start)}): figures may be too small.`);
  };

  /** Sets the fields of a form from the page's URL, and the URL from them; calls when one changes. */
  const choices = (form, changed) => {
    if (!form) return;
    for (const field of form.elements) {
      const said = HERE.searchParams.get(field.name);
      if (said !== null) field.value = said;
      if (field.localName === "select" && field.selectedIndex < 0) field.selectedIndex = 0;
    }
    const remember = () => {
      const url = new URL(location.href);
      for (const { name, value } of form.elements) value && name ? url.searchParams.set(name, value) : url.searchParams.delete(name);
      history.replaceState(null, "", url);
      changed();
    };
    form.addEventListener("change", remember);
    form.addEventListener("submit", (event) => (event.preventDefault(), remember()));
  };

  const toTheSecond = Show.show({ dateStyle: "medium", timeStyle: "medium" });

  /** Puts the new in the place of the old, and leaves the reader where they were: what is open, scrolled and has the focus. */
  const redraw = (content, shown) => {
    const all = (selector) => [...content.querySelectorAll(selector)];
    const [open, scrolled] = [all("details").map((each) => each.open), all(".wide").map(({ scrollLeft, scrollTop }) => [scrollLeft, scrollTop])];
    const focusable = "a, summary, [tabindex]";
    const focused = all(focusable).indexOf(document.activeElement);
    content.replaceChildren(...shown);
    all("details").forEach((each, at) => (each.open = open[at] ?? false));
    all(".wide").forEach((each, at) => ([each.scrollLeft, each.scrollTop] = scrolled[at] ?? [0, 0]));
    if (focused >= 0) all(focusable)[focused]?.focus({ preventScroll: true });
  };

  /**
   * Runs a page: asks, draws, and asks again every so many seconds while the page is seen. `questions()` gives the questions
   * by name; `draw(answers, asOf)` what is shown of the answers, or nothing where there is nothing to show. Fields of the page's
   * form are in its URL, and a change asks again.
   */
  const run = ({ questions, draw, seconds = 30 }) => {
    const [content, status, notes] = [byId("content"), byId("status"), byId("notes")];
    let [timer, turn] = [undefined, 0];
    /** Notes are read aloud: not again where they say the same. */
    const tell = (said) => {
      if (said.map(({ textContent }) => textContent).join() !== [...notes.children].map(({ textContent }) => textContent).join()) notes.replaceChildren(...said);
    };
    const failed = (error) => {
      const isOther = error instanceof Gone && SERVED_BY_DAEMON && daemon.origin !== HERE.origin;
      const only = isOther && " Pages that a daemon served may ask that daemon alone: open the page of the other one, or open it from a file.";
      tell([note("bad", error.message, only, ` This page asks again in ${seconds} seconds.`)]);
      content.toggleAttribute("data-stale", true);
      if (!content.hasChildNodes()) status.textContent = "";
    };
    const load = async () => {
      clearTimeout(timer);
      const mine = ++turn;
      try {
        const asked = questions();
        const { asOf, answers } = await query(asked);
        // A choice that was made meanwhile has a request of its own.
        if (mine !== turn) return;
        const shown = await draw(answers, asOf);
        if (mine !== turn) return;
        tell(remarks(asked, answers));
        redraw(content, [shown].flat(Infinity).filter(Boolean));
        content.removeAttribute("data-stale");
        status.textContent = `As of ${toTheSecond(asOf)} UTC, from ${daemon}`;
      } catch (error) {
        if (mine !== turn) return;
        failed(error);
      }
      document.documentElement.dataset.turn = turn;
      if (!document.hidden) timer = setTimeout(again, seconds * 1000);
    };
    // Who reads a bar's numbers is not disturbed.
    const again = () => (content.querySelector(".tip:not([hidden])") ? (timer = setTimeout(again, 1000)) : load());
    document.addEventListener("visibilitychange", () => !document.hidden && load());
    choices(document.querySelector("form"), load);
    load();
    return load;
  };

  /** Proposes values of a label while somebody types into the field. */
  const suggest = (field, path) => {
    let [timer, asked] = [undefined, undefined];
    const propose = async () => {
      const match = `*${field.value.replaceAll("*", "")}*`;
      if (match === asked) return;
      asked = match;
      const answer = await get(`${path}?${new URLSearchParams({ match, limit: "30" })}`).catch(() => ({}));
      if (match === asked) field.list.replaceChildren(...(answer.values ?? []).map((value) => h("option", { value })));
    };
    for (const event of ["input", "focus"]) field.addEventListener(event, () => (clearTimeout(timer), (timer = setTimeout(propose, 150))));
  };

  const isHere = (file) => HERE.pathname.endsWith(`/${file}`);
  const menu = [{ file: "index.html", name: "Dashboards" }, ...PAGES].map(({ file, name }) =>
    h("li", null, h("a", { href: pageUrl(file), "aria-current": isHere(file) ? "page" : undefined }, name)),
  );
  for (const link of document.querySelectorAll('footer a[href="index.html"]')) link.href = pageUrl("index.html");
  document.querySelector("header nav").replaceChildren(h("ul", null, menu));

  return { ...Show, PAGES, daemon, pageUrl, get, query, run, suggest };
})();
