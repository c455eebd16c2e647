// The original dashboard's calls, as it made them: JSONP, a script for each, whose function is called with the answer.
"use strict";
{
  const { daemon, h, byId, note, moment, part } = Dashboard;
  const BASE = "api/release-engineering-event-logs";
  const SHOWN = 8;
  let calls = 0;

  /** What is called runs as a script of this page: only that of files, which can read nothing else, may be anybody's. */
  const isTrusted = location.protocol === "file:" || daemon.origin === location.origin;

  /** Loads a script that calls back: how pages asked other origins before CORS. */
  const jsonp = (path) =>
    new Promise((resolve, reject) => {
      const name = `releng_${++calls}`;
      const url = new URL(path, daemon);
      url.search = new URLSearchParams({ callback: name, _: Date.now() });
      const script = h("script", { src: url });
      const done = (settle) => (value) => {
        delete window[name];
        script.remove();
        settle(value);
      };
      window[name] = done(resolve);
      script.addEventListener("error", done(() => reject(new Error(`${url.origin}${url.pathname} gives no answer: the daemon is away, or does not run the plugin releng`))));
      document.head.append(script);
    });

  const line = (row) => {
    const message = JSON.parse(row.message);
    const time = new Date(row.timestamp * 1000);
    return h("li", { "data-status": message.status.toLowerCase() }, message.name, h("span", { class: "state" }, message.status.toLowerCase()), h("time", { datetime: time.toISOString() }, moment(time)));
  };

  const component = ({ id, name }, rows) => {
    const mine = rows.filter(({ category }) => category === id).slice(0, SHOWN);
    return h("div", { "data-component": id }, h("h3", null, name), mine.length ? h("ul", { class: "log" }, mine.map(line)) : h("p", { class: "muted" }, "Nothing yet."));
  };

  async function load() {
    try {
      if (!isTrusted) throw new Error(`JSONP runs what ${daemon} answers, so this page asks only the daemon that it came from`);
      const layout = await jsonp(`${BASE}/layout`);
      const rows = await jsonp(BASE);
      const groups = layout.groups.map(({ id, name, components }) => part(name ?? id, h("div", { class: "columns" }, components.map((one) => component(one, rows)))));
      byId("content").replaceChildren(...groups);
      byId("status").textContent = `The newest ${rows.length} entries, from ${daemon}`;
    } catch (error) {
      byId("notes").replaceChildren(note("bad", `${error.message}.`));
      byId("status").textContent = "";
    }
    document.documentElement.dataset.turn = 1;
  }
  load();
}
