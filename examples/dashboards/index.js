// Which dashboards there are, and which of their plugins this daemon runs.
"use strict";
{
  const { PAGES, daemon, h, byId, get, note, moment, pageUrl, plural } = Dashboard;
  const SECONDS = 30;

  /** What is to be known of a plugin before its page is opened. */
  const state = (id, plugins) => {
    const plugin = plugins.find((plugin) => plugin.id === id);
    if (!plugin) return h("span", { class: "state" }, `plugin ${id} does not run here`);
    const isGood = plugin.state === "running" || plugin.state === "catching_up";
    return h("span", { class: `state ${isGood ? "good" : "bad"}` }, `${id}: ${plugin.state.replace("_", " ")}`);
  };

  const card = ({ file, name, plugins: needed, about }, plugins) =>
    h("section", { "aria-label": name }, h("h2", null, h("a", { href: pageUrl(file) }, name)), h("p", null, about), h("p", null, needed.map((id) => state(id, plugins))));

  async function load() {
    let plugins = [];
    try {
      const answer = await get("plugins");
      plugins = answer.plugins;
      byId("notes").replaceChildren();
      byId("content").removeAttribute("data-stale");
      byId("status").textContent = `${plural(plugins.length, "plugin")} on the daemon at ${daemon}, as of ${moment(answer.as_of)}.`;
      byId("content").replaceChildren(h("div", { class: "columns even" }, PAGES.map((page) => card(page, plugins))));
    } catch (error) {
      byId("status").textContent = "";
      byId("content").toggleAttribute("data-stale", true);
      byId("notes").replaceChildren(note("bad", error.message, " Is it running? Another one is named behind the page's address: ?daemon=http://host:8888"));
    }
    document.documentElement.dataset.turn = Number(document.documentElement.dataset.turn ?? 0) + 1;
    setTimeout(load, SECONDS * 1000);
  }
  load();
}
