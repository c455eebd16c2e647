// A small picture of the last hour, for the list of plugins.

import { svg } from "./dom.js";
import { number, seconds, units } from "./format.js";
import { partsOf, toSeries } from "./series.js";

const WIDTH = 120;
const HEIGHT = 28;

/** The first metric that has buckets. */
export const firstBucketed = (plugin) => plugin.metrics.find((metric) => metric.tiers);

/** Minutes, or the next width that the metric has. */
function stepOf(metric) {
  const widths = metric.tiers.map((tier) => seconds(tier.split(/[\s:]/)[0])).filter((width) => width > 0);
  const width = widths.find((width) => width >= 60) ?? widths[widths.length - 1] ?? 60;
  return `${width < 60 ? width * Math.ceil(60 / width) : width}s`;
}

/** The question for the last hour of a metric, over all of its labels. */
export const sparkQuery = (plugin, metric) => ({
  plugin: plugin.id, metric: metric.name, start: "now-1h", step: stepOf(metric), by: [],
});

/** Bars over the last hour, with the same in words. */
export function spark(answer, metric) {
  const { name: partName, isSum } = partsOf(metric.kind).find(({ isSum }) => isSum) ?? partsOf(metric.kind)[0];
  const drawn = toSeries(answer, metric.kind, partName);
  if (!drawn) return null;
  const values = drawn.coverage.map((_, at) => drawn.series.reduce((sum, { values }) => add(sum, values[at]), null));
  const most = values.reduce((most, value) => Math.max(most, value ?? 0), 0);
  const total = values.reduce((sum, value) => sum + (value ?? 0), 0);
  const width = WIDTH / values.length;
  const bars = values.map((value, at) => {
    if (value === null || drawn.coverage[at] === "missing") return value === null && drawn.coverage[at] !== "complete" && hole(at, width);
    const height = most > 0 ? (value / most) * (HEIGHT - 3) : 0;
    return height > 0 && svg("rect", { class: "bar", x: at * width, y: HEIGHT - 1 - Math.max(height, 1), width: width * 0.85, height: Math.max(height, 1) });
  });
  const unit = partName === "n" ? "values" : metric.unit || (metric.kind === "count" ? "" : partName);
  const figure = isSum ? units(total, unit) : `${unit} at most ${number(most)}`;
  const isSeen = drawn.series.length > 0 || drawn.coverage.some((each) => each !== "missing");
  const words = isSeen ? `${metric.name}: ${figure} in the last hour` : `${metric.name}: the bus was not seen in the last hour`;
  const base = svg("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 });
  const box = { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": words };
  return { picture: svg("svg", box, bars, base), words };
}

const add = (sum, value) => (value === null || value === undefined ? sum : (sum ?? 0) + value);

/** Where nothing is known. */
const hole = (at, width) => svg("rect", { class: "hole", x: at * width, y: HEIGHT - 4, width, height: 3 });
