// An answer: in a sentence, as a chart, as a table, and as something to take along.

import { copyButton, h, inline, replace, scrolling } from "./dom.js";
import { bytes, clock, day, moment, momentOf, number, plural, range, seconds, shownZone, span, time, units } from "./format.js";
import { COVERAGE, axisName, canDraw, colourOf, drawChart, inWords } from "./chart.js";
import { choicesOf, labelsOf, partsOf, toSeries } from "./series.js";

/** Rows that are in the table at once. */
const ROWS_SHOWN = 100;
/** Characters of a JSON value that are in the table at once. */
const JSON_SHOWN = 60;
/** Characters of a text that is shown as it is. */
const TEXT_SHOWN = 200;

/** Shows answers in that element. */
export function answerView(element) {
  const status = h("p", { role: "status", class: "summary" });
  const notes = h("div", { class: "notes" });
  const figure = h("figure", { class: "chart" });
  const table = h("div");
  const take = h("div", { class: "take" });
  const problem = h("div", { role: "alert" });
  replace(element, problem, status, notes, figure, table, take);
  let undraw = () => {};
  let shown;
  const hidden = new Set();
  const slots = new Map();
  const view = {
    /** Something is asked for. */
    wait: () => element.setAttribute("aria-busy", "true"),
    /** An answer to a question at that path; `part` is what to draw of its values. `quiet`: it is one of many. */
    show(metric, path, answer, { part, onPart, quiet = false }) {
      if (shown?.metric !== metric) {
        hidden.clear();
        slots.clear();
      }
      shown = { metric, path, answer, part, onPart };
      element.removeAttribute("aria-busy");
      status.setAttribute("aria-live", quiet ? "off" : "polite");
      replace(problem);
      replace(status, sentence(metric, answer));
      replace(notes, notesOf(answer, path));
      view.draw();
      keep(table, () => replace(table, tableOf(metric, answer)));
      keep(take, () => replace(take, takeAlong(path)));
      element.dataset.shown = path;
    },
    /** Draws anew, with other colours, another zone, or other series. */
    draw() {
      undraw();
      undraw = () => {};
      keep(figure, () => (undraw = shown ? draw(figure, shown, { hidden, slots }, view.draw) : undraw));
    },
    /** In another time zone. */
    again: () => shown && view.show(shown.metric, shown.path, shown.answer, { ...shown, quiet: true }),
    /** There is nothing to be answered. */
    say(words) {
      for (const part of [problem, status, figure, table, take]) replace(part);
      replace(notes, h("p", { class: "empty" }, words));
      element.dataset.shown = "none";
    },
    /** No answer. `isBeside`: what is wrong stands beside the parameter. */
    refuse(error, path, isBeside) {
      element.removeAttribute("aria-busy");
      undraw();
      undraw = () => {};
      shown = undefined;
      for (const part of [status, notes, figure, table]) replace(part);
      const where = isBeside ? `${error.title}: see “${error.parameter}” above.` : `${error.title}: ${error.message}`;
      replace(problem, h("p", { class: "problem" }, inline(where)));
      replace(take, takeAlong(path));
      element.dataset.shown = path;
    },
  };
  return view;
}

/** Does what replaces elements; the control that had the focus has it again, and what was open is. */
function keep(element, change) {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const scrolled = element.querySelector(".scrolling")?.scrollTop;
  change();
  if (focused) [...element.querySelectorAll("[data-key]")].find((each) => each.dataset.key === focused)?.focus();
  if (scrolled) element.querySelector(".scrolling")?.scrollTo({ top: scrolled });
}

function sentence(metric, answer) {
  const { rows, step, start, end } = answer;
  const series = new Set(rows.map((row) => JSON.stringify(labelsOf(answer).map((label) => row[label])))).size;
  const words = [];
  const isSeen = rows.length > 0 || !(answer.coverage ?? []).every((range) => range.coverage === "missing");
  if (metric.kind === "count" && isSeen) words.push(h("strong", null, units(rows.reduce((sum, row) => sum + (row.value ?? 0), 0), metric.unit || "counts")));
  const buckets = step ? Math.round((Date.parse(end) - Date.parse(start)) / 1000 / seconds(step)) : 0;
  words.push(step ? `${plural(buckets, "bucket")} of ${span(seconds(step))}` : plural(rows.length, "value"));
  if (step && labelsOf(answer).length) words.push(plural(series, "series", "series"));
  const until = end ? ["up to ", time(end)] : ["as of ", time(answer.as_of)];
  const when = start && end ? range(start, end) : [until, ` ${shownZone()}`];
  return [words.map((each, at) => [at > 0 && " · ", each]), " ", h("span", { class: "muted" }, when)];
}

/** What who reads the figures must know. */
function notesOf(answer, path) {
  const notes = [];
  const rows = answer.rows.length;
  if (!rows) notes.push(h("p", { class: "empty" }, emptyWords(answer), wholeWords(path)));
  if (answer.truncated) notes.push(h("p", { class: "warning" }, `Only ${number(rows)} of ${answer.total ? plural(answer.total, "row") : "more rows"}. Raise “rows at most”, or ask for less.${answer.step ? " What is cut off is not in the chart." : ""}`));
  const asked = momentOf(new URLSearchParams(path.split("?")[1]).get("start"), answer.as_of);
  if (answer.step && Date.parse(answer.start) > asked) notes.push(h("p", { class: "warning" }, `Shown from `, time(answer.start), ` ${shownZone()} on, though more was asked for: buckets of ${span(seconds(answer.step))} are not kept longer. A wider step reaches back further.`));
  if (answer.partial) notes.push(h("p", { class: "warning" }, "The plugin has not read everything yet, or was stopped, so figures may be too small: see its state."));
  return notes;
}

/** What is easily overlooked of a question that found nothing. */
function wholeWords(path) {
  const asked = [...new URLSearchParams(path.split("?")[1])].find(([name, value]) => name.startsWith("where.") && value && !value.includes("*"));
  return asked && [" A label is compared as a whole: ", h("code", null, `*${asked[1]}*`), ` finds “${asked[1]}” within one.`];
}

function emptyWords({ coverage }) {
  const seen = new Set((coverage ?? []).map((range) => range.coverage));
  if (!coverage) return "No value: none was set, or none fits.";
  if (seen.size === 1 && seen.has("missing")) return "Nobody knows: the bus was not seen in that time.";
  if (seen.size === 1 && seen.has("complete")) return "Nothing: the bus was seen all the time, and nothing was counted.";
  return "Nothing was counted, but the bus was not seen all the time.";
}

function draw(figure, { metric, answer, part, onPart }, { hidden, slots }, redraw) {
  const data = answer.step && answer.rows.length && canDraw() && toSeries(answer, metric.kind, part);
  if (!data) {
    replace(figure);
    return () => {};
  }
  takeSlots(slots, data.series);
  const canvas = h("div", { class: "canvas", role: "img", "aria-label": inWords(data, metric.unit) });
  const legend = legendOf(data, hidden, redraw);
  replace(figure, partChoice(metric, data, onPart), canvas, legend.element);
  return drawChart(canvas, data, { unit: metric.unit, hidden, onPoint: legend.point });
}

/** Gives each series a colour that it keeps, whichever is the greatest. */
function takeSlots(slots, series) {
  const names = new Set(series.map(({ name }) => name));
  for (const name of [...slots.keys()]) if (!names.has(name)) slots.delete(name);
  for (const each of series) {
    if (each.isRest) continue;
    const taken = new Set(slots.values());
    if (!slots.has(each.name)) slots.set(each.name, series.findIndex((_, slot) => !taken.has(slot)));
    each.slot = slots.get(each.name);
  }
}

function partChoice(metric, data, onPart) {
  const parts = choicesOf(metric.kind, data);
  const title = h("figcaption", null, axisName(data, metric.unit));
  if (parts.length < 2) return title;
  const options = parts.map(({ name }) => h("option", { value: name, selected: name === data.part.name }, name));
  const select = h("select", { id: "part", "data-key": "part", onchange: (event) => onPart(event.target.value) }, options);
  return [title, h("p", { class: "part" }, h("label", { for: "part" }, "Draw "), select)];
}

/** Names, colours and figures of the series, and what shades mean. A series that is pressed is left out. */
function legendOf(data, hidden, redraw) {
  const title = h("p", { class: "muted" });
  const values = data.series.map(() => h("span", { class: "number" }));
  const items = data.series.map((series, at) => {
    const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = colourOf(series);
    const toggle = () => {
      if (!hidden.delete(series.name)) hidden.add(series.name);
      redraw();
    };
    const pressed = String(!hidden.has(series.name));
    const name = series.name || "all";
    return h("li", null, h("button", { type: "button", "aria-pressed": pressed, "data-key": `series-${name}`, onclick: toggle }, swatch, h("span", { class: "name", title: name.length > 40 && name }, name), values[at]));
  });
  const known = ["partial", "missing"].filter((each) => data.coverage.includes(each));
  const shades = known.map((each) => h("li", { class: "shade" }, h("span", { class: `swatch ${each}`, "aria-hidden": "true" }), COVERAGE[each]));
  const more = data.hidden > 0 && h("p", { class: "muted" }, `${plural(data.hidden, "more series is", "more series are")} in the table only: ${data.part.isSum ? "what is below zero cannot be drawn as a part" : `${data.part.name} cannot be added up`}.`);
  const point = (at) => {
    title.textContent = at === null ? (data.part.isSum ? "Sums over the range" : "Greatest in the range") : `${moment(new Date(data.times[at] * 1e3))} ${shownZone()}, ${data.coverage[at]}`;
    data.series.forEach((series, n) => {
      const value = at === null ? (data.part.isSum ? series.total : series.peak) : series.values[at];
      values[n].textContent = value === null ? "unknown" : number(value);
    });
  };
  point(null);
  return { point, element: h("div", { class: "legend" }, title, h("ul", { "aria-label": "Series" }, items), more, shades.length > 0 && h("ul", { "aria-label": "Shades" }, shades)) };
}

/** Columns with one thing in each: the parts of a value beside one another. */
function columnsOf(metric, answer) {
  return answer.columns.flatMap(({ name, type }) => {
    if (name !== "value" || type !== "object") return [{ name, type, get: (row) => row[name] }];
    const parts = metric.kind === "distinct" ? ["estimate", "error"] : partsOf(metric.kind).map((part) => part.name);
    return parts.map((part) => ({ name: part, type: "number", get: (row) => row.value?.[part] }));
  });
}

function tableOf(metric, answer, isAll = false) {
  const { rows } = answer;
  if (!rows.length) return [];
  const columns = columnsOf(metric, answer);
  const most = rows.reduce((most, row) => Math.max(most, typeof row.value === "number" ? row.value : 0), 0);
  const head = h("tr", null, columns.map(({ name, type }) => h("th", { scope: "col", class: isNumber(type) ? "number" : null }, heading(name, metric))));
  // The date once, where it is the same for all.
  const days = new Set(rows.map((row) => day(row.time)));
  // Beside objects and texts, numbers stand where those begin.
  const isMixed = rows.some(({ value }) => value !== null && typeof value !== "number");
  const context = { answer, most, isMixed, showTime: days.size === 1 ? clock : moment };
  const body = rows.slice(0, isAll ? rows.length : ROWS_SHOWN).map((row) => h("tr", null, columns.map((column) => cell(column, row, context))));
  const cut = !isAll && rows.length > ROWS_SHOWN;
  const caption = h("caption", null, `${metric.name}: ${cut ? `the first ${number(ROWS_SHOWN)} of ` : ""}${plural(rows.length, "row")}${days.size === 1 ? ` of ${[...days][0]}` : ""}. Times in ${shownZone()}.`);
  const box = scrolling(`Table of ${metric.name}`, h("table", { class: "data" }, caption, h("thead", null, head), h("tbody", null, body)));
  const all = cut && h("button", { type: "button", class: "quiet", "data-key": "all" }, `Show all ${number(rows.length)} rows`);
  if (all) all.addEventListener("click", () => replace(box.parentElement, tableOf(metric, answer, true)));
  return [box, all];
}

const isNumber = (type) => type === "integer" || type === "number";
const heading = (name, metric) => (name === "value" && metric.unit ? `${name} (${metric.unit})` : name === "time" && metric.tiers ? "bucket from" : name);

function cell({ name, type, get }, row, { answer, most, showTime, isMixed }) {
  const value = get(row);
  if (type === "time") return h("th", { scope: "row" }, time(value, showTime));
  if (value === null || value === undefined) return h("td", { class: "unknown" }, "unknown");
  if (name === "coverage") return h("td", { class: value }, value);
  if (type === "string" && value === "") return h("td", { class: "muted" }, "(empty)");
  if (isNumber(type)) return h("td", { class: "number" }, number(value), !answer.step && name === "value" && bar(value, most));
  if (typeof value === "number") return h("td", { class: isMixed ? null : "number" }, number(value), !isMixed && bar(value, most));
  if (type === "array") return h("td", { class: "entries" }, value.map((entry, n) => [n > 0 && ", ", keyed(entry)]));
  if (typeof value === "object") return h("td", { class: "json" }, json(value));
  return type === "json" ? h("td", { class: "json" }, json(value)) : text(name, value);
}

/** A text; a long one in a box that scrolls. */
function text(name, value) {
  if (value.length > TEXT_SHOWN) return h("td", { class: "text" }, h("div", { class: "long", tabindex: "0", role: "group", "aria-label": name }, value));
  return h("td", { class: name === "id" ? "muted" : "text" }, value);
}

/** JSON; of a long one the beginning, which opens. */
function json(value) {
  const text = JSON.stringify(value);
  if (text.length <= JSON_SHOWN) return h("code", null, text);
  const start = h("summary", null, h("code", null, `${text.slice(0, JSON_SHOWN)} …`));
  return h("details", null, start, h("pre", null, JSON.stringify(value, null, 2)));
}

const keyed = ({ key, count, error }) => [h("bdi", null, h("strong", null, key || "(empty)")), ` ${number(count)}`, error > 0 && ` (at most ${number(error)} too many)`];

/** How large a value is beside the greatest. */
function bar(value, most) {
  const element = h("span", { class: "bar", "aria-hidden": "true" });
  element.style.inlineSize = `${most > 0 ? Math.max(0, (value / most) * 100) : 0}%`;
  return element;
}

/** The URL of the answer, and what to do with it. */
function takeAlong(path) {
  const url = `${location.origin}${path}`;
  const curl = `curl '${url.replaceAll("'", "'\\''")}'`;
  const format = (name) => `${path}${path.includes("?") ? "&" : "?"}format=${name}`;
  return [
    h("h3", null, "Take it along"),
    h("dl", null,
      h("div", null, h("dt", null, "URL"), h("dd", null, h("code", { id: "url" }, url), copyButton("URL", () => url))),
      h("div", null, h("dt", null, "Shell"), h("dd", null, h("code", { id: "curl" }, curl), copyButton("command", () => curl)))),
    h("p", { class: "links" }, "This answer as ",
      h("a", { href: path, "data-key": "json" }, "JSON"),
      h("a", { href: format("csv"), "data-key": "csv" }, "CSV"),
      h("a", { href: format("ndjson"), "data-key": "ndjson" }, "NDJSON")),
  ];
}

/** What a metric is, for people. */
export function documentation(plugin, metric) {
  const pair = (term, text) => h("div", null, h("dt", null, term), h("dd", null, text));
  return [
    metric.description && h("p", null, inline(metric.description)),
    h("details", null, h("summary", null, "About this metric"), h("dl", { class: "facts" },
      pair("Kind", `${metric.kind}: ${KINDS[metric.kind] ?? ""}`),
      pair("Unit", metric.unit || "none"),
      pair("Labels", metric.labels.join(", ") || "none"),
      pair("Kept", metric.tiers ? metric.tiers.join(", ") : "the newest value of each label set"),
      pair("Series", `${number(metric.series)} of ${number(metric.series_max)} at most, ${bytes(metric.bytes)}`),
      metric.examples?.length > 0 && h("div", { class: "all" }, h("dt", null, "Examples"), h("dd", null, h("ul", { class: "links" }, metric.examples.map(example)))),
      pair("Schema", h("a", { href: plugin.links.schema }, "JSON Schema of its answers")))),
  ];
}

/** A question that works: shown on this page, unless it is about another form than the page reads. */
const example = ({ title, url }) => h("li", null, h("a", { href: url.includes("format=") ? url : `#${url}` }, inline(title)));

const KINDS = {
  count: "how many",
  stat: "number, sum, mean and spread of measured values",
  distinct: "how many different ones, within about 2 %",
  dist: "percentiles of measured values, within 1 %",
  top: "the most frequent ones",
  latest: "what was said last",
};
