// The chart: bars or lines over time, from zero, with gaps and shades where the bus was not seen.

import { byId, h } from "./dom.js";
import { clock, compact, moment, number, shownZone, span } from "./format.js";

const HEIGHT = 300;
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];

/** What a coverage means, for the legend. */
export const COVERAGE = {
  partial: "Seen in part, or not over yet: there may be more",
  missing: "Not seen: nobody knows",
};

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const colourOf = ({ isRest, slot }) => style(isRest ? "--series-rest" : `--series-${slot % 8}`);

/**
 * Draws what `toSeries` made into that element. `hidden`: names of series that are left out. `onPoint` is told which
 * bucket is pointed at, or null.
 */
export function drawChart(element, data, { unit, hidden, onPoint }) {
  const isBars = data.isStacked || data.all === 1 && data.part.name === "estimate";
  const shown = data.series.filter(({ name }) => !hidden.has(name));
  const tops = data.isStacked ? stacked(shown) : shown.map(({ values }) => values);
  // The greatest stack is drawn first, the others over it.
  const order = shown.map((_, at) => at).reverse();
  const lines = order.map((at) => lineOf(shown[at], tops[at], data, isBars));
  const columns = order.map((at) => [...tops[at], null]);
  const most = tops.flat().reduce((most, value) => Math.max(most, value ?? 0), 0);
  const least = tops.flat().reduce((least, value) => Math.min(least, value ?? 0), 0);
  const options = {
    width: Math.max(element.clientWidth, 240),
    height: HEIGHT,
    padding: [8, 28, 0, 0],
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), shownZone()),
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: !isBars }, y: false },
    scales: { x: { time: true, range: () => [data.times[0], data.times[data.times.length - 1]] }, y: { range: () => yRange(least, most) } },
    axes: axes(incrementsOf(tops.flat(), Math.max(most, -least))),
    series: [{}, ...lines],
    hooks: {
      drawClear: [(plot) => shade(plot, data)],
      setCursor: [(plot) => onPoint(plot.cursor.idx === null || plot.cursor.left < 0 ? null : Math.min(plot.cursor.idx, data.coverage.length - 1))],
    },
  };
  element.replaceChildren();
  const plot = new uPlot(options, [data.times, ...columns], element);
  const observer = new ResizeObserver(() => {
    const width = Math.max(element.clientWidth, 240);
    if (width !== plot.width) plot.setSize({ width, height: HEIGHT });
  });
  observer.observe(element);
  return () => {
    observer.disconnect();
    plot.destroy();
  };
}

/** From zero; something above it, that the greatest is not cut. */
const yRange = (least, most) => [least < 0 ? least * 1.05 : 0, most > 0 ? most * 1.05 : least < 0 ? 0 : 1];

/** What the y axis has. Sums and numbers are so many per bucket; a mean or a percentile is of each bucket. */
export function axisName({ part, step }, unit) {
  const of = part.name === "n" ? "" : unit;
  const what = part.name === "value" ? unit || "count" : part.name === "estimate" ? `distinct ${unit || "values"}` : [part.name, of && `(${of})`].filter(Boolean).join(" ");
  return `${what} ${part.isSum || part.name === "estimate" ? "per" : "of each"} ${span(step).replace(/^1 /, "")}`;
}

/** Each on top of those before it; where nothing is known of all, nothing is drawn. */
function stacked(shown) {
  let below = [];
  return shown.map(({ values }) => {
    const top = values.map((value, at) => (value === null ? null : value + (below[at] ?? 0)));
    below = top.map((value, at) => value ?? below[at] ?? null);
    return top;
  });
}

function lineOf(series, values, data, isBars) {
  const stroke = colourOf(series);
  if (isBars) {
    return { label: series.name, stroke, fill: stroke, width: 0, paths: uPlot.paths.bars({ align: 1, size: [0.86, Infinity], gap: 0 }), points: { show: false } };
  }
  const dash = DASHES[Math.floor(series.slot / 2) % DASHES.length];
  return { label: series.name, stroke, width: 2, dash, paths: steps, points: { show: false } };
}

/** A line that is level from the start of a bucket to its end, as the value is of all of it. */
function steps(plot, at) {
  const stroke = new Path2D();
  const [times, values] = [plot.data[0], plot.data[at]];
  let isOpen = false;
  for (let n = 0; n + 1 < times.length; n += 1) {
    const value = values[n];
    if (value !== null) {
      const y = plot.valToPos(value, "y", true);
      stroke[isOpen ? "lineTo" : "moveTo"](plot.valToPos(times[n], "x", true), y);
      stroke.lineTo(plot.valToPos(times[n + 1], "x", true), y);
    }
    isOpen = value !== null;
  }
  return { stroke, fill: null, clip: null, band: null, gaps: null, flags: 0 };
}

/** Steps of the y axis where those of the library will not do: none between whole numbers, and some for great ones. */
function incrementsOf(values, most) {
  const isWhole = values.every((value) => value === null || Number.isInteger(value));
  if (!isWhole && most < 1e15) return {};
  return { incrs: Array.from({ length: 308 }, (_, power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`))).flat() };
}

function axes(increments) {
  const common = { stroke: style("--muted"), font: `12px ${style("--font")}` };
  const grid = { stroke: style("--grid"), width: 1 };
  return [
    { ...common, grid: { show: false }, ticks: { ...grid, size: 4 }, space: 70, values: timeLabels },
    { ...common, ...increments, grid, ticks: { show: false }, size: axisSize, values: (_, splits) => splits.map((value) => (value === null ? "" : compact(value))) },
  ];
}

/** As wide as its longest number. */
const axisSize = (_, values) => 16 + 7 * Math.max(3, ...(values ?? []).map((value) => String(value).length));

/** Time of day; the date where it changes, or where there is no other. */
function timeLabels(_, splits) {
  const options = { timeZone: shownZone(), hourCycle: "h23" };
  const day = new Intl.DateTimeFormat(undefined, { ...options, month: "short", day: "numeric" });
  const minute = new Intl.DateTimeFormat(undefined, { ...options, hour: "2-digit", minute: "2-digit" });
  const gap = splits.length > 1 ? splits[1] - splits[0] : 60;
  let last = "";
  return splits.map((seconds) => {
    const date = new Date(seconds * 1e3);
    const today = day.format(date);
    const text = gap >= 86400 ? today : gap < 60 ? clock(date) : minute.format(date);
    const isNew = gap < 86400 && today !== last;
    last = today;
    return isNew ? `${text}\n${today}` : text;
  });
}

/** Behind the bars: what was not seen, or not all of it. */
function shade(plot, { times, coverage }) {
  const { ctx, bbox } = plot;
  for (let from = 0; from < coverage.length; ) {
    let to = from + 1;
    while (to < coverage.length && coverage[to] === coverage[from]) to += 1;
    if (coverage[from] !== "complete") {
      const left = Math.max(plot.valToPos(times[from], "x", true), bbox.left);
      const right = Math.min(plot.valToPos(times[to], "x", true), bbox.left + bbox.width);
      ctx.save();
      ctx.fillStyle = hatch(ctx, coverage[from]);
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
      ctx.restore();
    }
    from = to;
  }
}

/** Stripes: close together and crossed where nothing was seen, wide where a part was. */
function hatch(ctx, coverage) {
  const size = coverage === "missing" ? 7 : 10;
  const scale = window.devicePixelRatio || 1;
  const tile = h("canvas", { width: Math.round(size * scale), height: Math.round(size * scale) });
  const pen = tile.getContext("2d");
  pen.scale(scale, scale);
  pen.fillStyle = style(coverage === "missing" ? "--missing" : "--partial");
  pen.fillRect(0, 0, size, size);
  pen.strokeStyle = style("--stripe");
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(0, size);
  pen.lineTo(size, 0);
  if (coverage === "missing") {
    pen.moveTo(0, 0);
    pen.lineTo(size, size);
  }
  pen.stroke();
  return ctx.createPattern(tile, "repeat");
}

/** The chart in words, for those who do not see it. */
export function inWords(data, unit) {
  const { series, times, all } = data;
  const name = axisName(data, unit);
  const from = moment(new Date(times[0] * 1e3));
  const to = moment(new Date(times[times.length - 1] * 1e3));
  const first = series[0];
  const top = first?.name ? ` Greatest: ${first.name}, ${number(data.part.isSum ? first.total : first.peak)}.` : "";
  return `Chart of ${name}, ${from} to ${to}, ${all} series.${top} The table below has the numbers.`;
}

/** Calls when colours change. */
export function onTheme(call) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", call);
}

/** Whether the drawing library came. */
export const canDraw = () => typeof globalThis.uPlot === "function" && byId("ask") !== null;
