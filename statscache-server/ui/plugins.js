// The list of plugins: how each does, in words, and what it keeps.

import { h, inline, markdown, replace, scrolling } from "./dom.js";
import { ago, bytes, clock, isToday, moment, number, plural, shownZone, span, time } from "./format.js";

/** Sign, words and tone of a state; the sign and the words say it without the colour. */
const STATES = {
  running: ["✓", "Running", "good"],
  catching_up: ["↻", "Catching up", "busy"],
  stalled: ["!", "Stalled", "bad"],
  frozen: ["❄", "Frozen", "busy"],
  quarantined: ["!", "Quarantined", "bad"],
  failed: ["✕", "Failed", "bad"],
  disabled: ["–", "Disabled", "off"],
};

/** What a state means for who reads the figures. */
const MEANINGS = {
  catching_up: "It reads what the journal holds; until it is done its figures are too small.",
  stalled: "Its figures stand still until it returns.",
  frozen: "Its code is gone. It serves what it has until another version takes its place.",
  quarantined: "It failed too often and gets no messages until it is reloaded. What it counted before is still served.",
  failed: "It could not be started, so there is nothing to see.",
  disabled: "The configuration turns it off.",
};

const COUNTERS = {
  processed: "messages processed",
  updates: "updates made",
  failed: "messages on which it failed",
  limited: "updates changed or refused by a limit",
  folded: "updates counted under __other__",
  refused: "values refused",
  late: "updates too late for the finest buckets",
  too_late: "updates too late for all buckets",
  missed: "messages gone before it read them",
};

/** The list in that element. `pathOf` gives where a metric's link leads to. */
export function pluginList(element, pathOf) {
  const cards = new Map();
  return {
    /** Shows these plugins; what is open or focused stays so. */
    update({ plugins }, sparks) {
      if (!plugins.length) return replace(element, empty());
      const shown = plugins.map((plugin) => {
        const key = plugin.id;
        if (!cards.has(key)) cards.set(key, card(pathOf));
        const one = cards.get(key);
        one.update(plugin, sparks.get(key));
        return one.element;
      });
      const isSame = shown.length === element.children.length && shown.every((each, at) => element.children[at] === each);
      if (!isSame) replace(element, shown);
    },
    /** Marks the metric that is shown beside it. */
    select(path) {
      for (const link of element.querySelectorAll("a[data-path]")) {
        if (link.dataset.path === path) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    },
  };
}

const empty = () =>
  h("p", { class: "note" }, "No plugin is loaded. Put one into a folder named in ", h("code", null, "[plugins] dirs"), " and reload.");

function card(pathOf) {
  const head = h("header");
  const facts = h("dl", { class: "facts" });
  const notes = h("div", { class: "notes" });
  const picture = h("div", { class: "spark-box" });
  const metrics = h("ul", { class: "metrics" });
  const more = h("div");
  const details = h("details", null, h("summary", null, "Details"), more);
  const element = h("article", { class: "card" }, head, notes, picture, facts, metrics, details);
  let last = "";
  return {
    element,
    update(plugin, sparkline) {
      replace(facts, factsOf(plugin));
      replace(picture, pictureOf(plugin, sparkline));
      // What seldom changes is left alone, and with it what has the focus.
      const { counters, lag, watermark, metrics: all, ...rest } = plugin;
      const slow = JSON.stringify([rest, all.map(({ memory, bytes, ...metric }) => metric), counters?.failed, lag?.messages, shownZone()]);
      if (slow === last) return;
      last = slow;
      element.setAttribute("aria-labelledby", `plugin-${plugin.id}`);
      element.dataset.plugin = plugin.id;
      replace(head, headOf(plugin));
      replace(notes, notesOf(plugin));
      keepFocus(metrics, () => replace(metrics, all.map((metric) => metricItem(plugin, metric, pathOf))));
      replace(more, moreOf(plugin));
    },
  };
}

/** Does what replaces elements; a link that had the focus has it again. */
function keepFocus(element, change) {
  const current = element.querySelector("[aria-current]")?.dataset.path;
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.path : undefined;
  change();
  for (const link of element.querySelectorAll("a[data-path]")) {
    if (link.dataset.path === current) link.setAttribute("aria-current", "true");
    if (link.dataset.path === focused) link.focus();
  }
}

function headOf(plugin) {
  const [sign, words, tone] = STATES[plugin.state] ?? ["?", plugin.state, "off"];
  return [
    h("h3", { id: `plugin-${plugin.id}` }, plugin.id, plugin.version && h("small", null, ` ${plugin.version}`)),
    h("span", { class: `state ${tone}` }, h("span", { "aria-hidden": "true" }, sign), ` ${words}`),
    plugin.summary && h("p", null, sentence(plugin.summary)),
  ];
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1).replace(/\.?$/, ".");

/** What is not as it should be. */
function notesOf(plugin) {
  const { building, history, lag } = plugin;
  const notes = [];
  if (plugin.error) notes.push(h("p", { class: "problem" }, inline(plugin.error)));
  if (MEANINGS[plugin.state]) notes.push(h("p", { class: "note" }, MEANINGS[plugin.state]));
  if (lag?.messages > 0) {
    notes.push(h("p", { class: "note" }, `${plural(lag.messages, "message")} to read, ${span(lag.seconds)} behind.`));
  }
  if (building) {
    const words = { catching_up: `is read in, ${plural(building.lag.messages, "message")} to go`, ready: "takes its place now", held: "is ready and waits for `statscache promote`", quarantined: "failed too often; this one stays" };
    notes.push(h("p", { class: "note" }, inline(`A changed version beside this one ${words[building.state] ?? building.state}: `), h("a", { href: building.diff }, "what differs"), "."));
  }
  if (history) notes.push(h("p", { class: "note" }, "History is being fetched: up to ", time(history.done_until), " of ", time(history.to), history.error && `; ${history.error}`, "."));
  if (plugin.damaged) notes.push(h("p", { class: "problem" }, "Part of what it kept was damaged and is set aside; that time is missing."));
  return notes;
}

function pictureOf(plugin, sparkline) {
  if (sparkline?.picture) return [sparkline.picture, h("span", { class: "muted" }, sparkline.words)];
  return sparkline?.problem && h("span", { class: "muted" }, `No picture of the last hour: ${sparkline.problem}`);
}

function factsOf(plugin) {
  const { watermark, lag, counters } = plugin;
  if (!watermark) return [];
  const fact = (term, ...text) => h("div", null, h("dt", null, term), h("dd", null, text));
  const last = watermark.time
    ? [ago(watermark.time), " ", h("span", { class: "muted" }, "(", time(watermark.time, isToday(watermark.time) ? clock : moment), ` ${shownZone()})`)]
    : "none yet: the figures begin with the first message";
  return [
    fact("Last message", last),
    fact("Behind", lag?.messages ? plural(lag.messages, "message") : "nothing"),
    fact("Processed", plural(counters?.processed ?? 0, "message"), counters?.failed ? `, ${number(counters.failed)} failed` : ""),
  ];
}

function metricItem(plugin, metric, pathOf) {
  const path = metric.links.values;
  const labels = metric.labels.length ? `by ${metric.labels.join(", ")}` : "no labels";
  const about = [metric.kind, metric.unit, labels, plural(metric.series, "series", "series")].filter(Boolean).join(" · ");
  return h("li", null, h("a", { href: pathOf(metric), "data-path": path }, metric.name), h("span", { class: "muted" }, about), metric.description && h("span", { class: "description" }, inline(metric.description)));
}

function moreOf(plugin) {
  const { counters, topics, fields, config, links } = plugin;
  const rows = Object.entries(counters ?? {}).map(([name, count]) => h("tr", null, h("th", { scope: "row" }, COUNTERS[name] ?? name), h("td", { class: "number" }, number(count))));
  const list = (items, none) => (items?.length ? items.map((item, at) => [at > 0 && ", ", h("code", null, item)]) : none);
  return [
    markdown(plugin.description ?? ""),
    h("dl", { class: "facts wide" },
      pair("Plugin", plugin.plugin ?? "no library could be opened"),
      pair("Loaded from", plugin.library ?? "nowhere"),
      counters && pair("Topics", list(topics, "all")),
      counters && pair("Fields read", list(fields, "none")),
      pair("Configuration", h("code", null, JSON.stringify(config))),
      plugin.metrics.length > 0 && pair("On disk", bytes(plugin.metrics.reduce((sum, metric) => sum + metric.bytes, 0)))),
    rows.length > 0 && scrolling(`Counters of ${plugin.id}`, h("table", null, h("caption", null, "Counters"), h("tbody", null, rows))),
    links && h("p", { class: "links" }, h("a", { href: links.self }, "JSON"), h("a", { href: links.schema }, "JSON Schema"), h("a", { href: `${links.self}/grafana.json` }, "Grafana dashboard")),
  ];
}

const pair = (term, ...text) => h("div", null, h("dt", null, term), h("dd", null, text));
