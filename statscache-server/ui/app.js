// The page: fetches what there is, again and again while somebody looks, and hands it to its parts.

import { get, query } from "./api.js";
import { byId, h, replace } from "./dom.js";
import { explorer, linkOf } from "./explore.js";
import { localZone, number, plural, shownZone, showLocal, time } from "./format.js";
import { pluginList } from "./plugins.js";
import { firstBucketed, spark, sparkQuery } from "./spark.js";

const EVERY = 5000;
const NO_QUERY = "this daemon takes no POST /query";

const list = pluginList(byId("plugin-list"), linkOf);
const explore = explorer((path) => list.select(path));
let timer;
let isQueryAbsent = false;

/** Pictures of the last hour, all by one request. */
async function sparks(plugins) {
  const asked = plugins.map((plugin) => ({ plugin, metric: firstBucketed(plugin) })).filter(({ metric }) => metric);
  if (!asked.length) return new Map();
  const without = (why) => new Map(asked.map(({ plugin }) => [plugin.id, { problem: why }]));
  if (isQueryAbsent) return without(NO_QUERY);
  try {
    const answers = await query(asked.map(({ plugin, metric }) => sparkQuery(plugin, metric)));
    return new Map(asked.map(({ plugin, metric }, at) => [plugin.id, answers[at] instanceof Error ? { problem: answers[at].message } : spark(answers[at], metric)]));
  } catch (error) {
    isQueryAbsent = error.isAbsent;
    return without(isQueryAbsent ? NO_QUERY : error.message);
  }
}

/** How the daemon does, in a line. */
function health(plugins, bus) {
  const connected = bus.endpoints.filter((endpoint) => endpoint.peers > 0).length;
  const isWell = connected === bus.endpoints.length && connected > 0;
  const words = connected === bus.endpoints.length ? "connected to" : `connected to ${connected} of`;
  replace(byId("health"),
    h("span", { class: `state ${isWell ? "good" : "bad"}` }, h("span", { "aria-hidden": "true" }, isWell ? "✓" : "!"), ` Bus: ${words} ${plural(bus.endpoints.length, "endpoint")}`),
    h("span", null, `${plural(bus.accepted, "message")} accepted`, bus.queue.dropped_messages > 0 && `, ${number(bus.queue.dropped_messages)} dropped`, " since the daemon’s start"),
    h("span", null, "Figures as of ", time(plugins.as_of), ` ${shownZone()}`));
}

async function refresh() {
  clearTimeout(timer);
  try {
    const [plugins, bus] = await Promise.all([get("/plugins"), get("/bus")]);
    health(plugins, bus);
    explore.update(plugins);
    list.update(plugins, await sparks(plugins.plugins));
    list.select(location.hash.slice(1).split("?")[0]);
    replace(byId("trouble"));
    delete document.documentElement.dataset.stale;
  } catch (error) {
    replace(byId("trouble"), h("p", { class: "problem" }, `${error.title ?? "The page failed"}: ${error.message}. What is shown is the last that was heard; it is tried again.`));
    document.documentElement.dataset.stale = "true";
    if (!error.title) console.error(error);
  }
  document.documentElement.dataset.ready = "true";
  if (!document.hidden) timer = setTimeout(refresh, EVERY);
}

function zones() {
  const select = byId("zone");
  replace(select, h("option", { value: "UTC" }, "UTC"), localZone !== "UTC" && h("option", { value: "local" }, `Local (${localZone})`));
  select.value = shownZone() === "UTC" ? "UTC" : "local";
  select.addEventListener("change", () => {
    showLocal(select.value === "local");
    explore.again();
    refresh();
  });
}

/** Past everything, without a change of the URL, which says what is asked for. */
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("ask-title").focus();
});

zones();
document.addEventListener("visibilitychange", () => !document.hidden && refresh());
refresh();
