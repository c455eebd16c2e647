// From the rows of an answer to what can be drawn: series over the same buckets, with gaps where nothing is known.

import { plural, seconds } from "./format.js";

/** Series that are drawn by themselves; the others are added up, or only in the table. */
const SERIES_MAX = 8;
const BUCKETS_MAX = 20000;

const part = (name, isSum, get = (value) => value[name]) => ({ name, isSum, get });

/** What can be drawn of a kind's values. `isSum`: buckets and series of it may be added up. */
const PARTS = {
  count: [part("value", true, (value) => value)],
  stat: [part("mean"), part("sum", true), part("n", true), part("min"), part("max"), part("stddev")],
  distinct: [part("estimate")],
  dist: [part("p50"), part("p90"), part("p95"), part("p99"), part("min"), part("max"), part("n", true)],
  top: [part("count", true)],
};

export const partsOf = (kind) => PARTS[kind] ?? [];

/** Of the distribution of one thing: how it is spread, in one picture. */
const SPREAD = part("p50, p90, p99");
const QUANTILES = SPREAD.name.split(", ");

/** What of the values can be drawn of such an answer. */
export const choicesOf = (kind, { canSpread }) => (canSpread ? [SPREAD, ...partsOf(kind)] : partsOf(kind));

/** Kinds of which nothing seen means zero. */
const HAS_ZERO = new Set(["count", "distinct", "top"]);

/** Labels of a row as a text. */
const nameOf = (row, labels) => labels.map((label) => row[label] || "(empty)").join(" · ");

/** Columns of an answer that are labels. */
export function labelsOf(answer) {
  return answer.columns.filter(({ name, type }) => type === "string" && name !== "coverage" && name !== "id").map(({ name }) => name);
}

/**
 * What to draw: `times` (seconds, one more than there are buckets), `coverage` of each bucket, `series` of values with
 * the greatest first. Null if the answer has no buckets.
 */
export function toSeries(answer, kind, partName) {
  const step = seconds(answer.step);
  const start = Date.parse(answer.start) / 1000;
  const count = Math.round((Date.parse(answer.end) / 1000 - start) / step);
  if (!(count > 0 && count <= BUCKETS_MAX)) return null;
  const labels = labelsOf(answer);
  const canSpread = kind === "dist" && new Set(answer.rows.map((row) => nameOf(row, labels))).size === 1;
  const choices = choicesOf(kind, { canSpread });
  const chosen = choices.find(({ name }) => name === partName) ?? choices[0];
  const coverage = coverageOf(answer, start, step, count);
  const isKnownZero = HAS_ZERO.has(kind) && !answer.truncated;
  const empty = () => coverage.map((each) => (isKnownZero && each === "complete" ? 0 : null));
  const found = new Map();
  const add = (name, at, value, key = name) => {
    if (!found.has(key)) found.set(key, { name, values: empty() });
    found.get(key).values[at] = value;
  };
  for (const row of answer.rows) {
    const at = Math.round((Date.parse(row.time) / 1000 - start) / step);
    if (at < 0 || at >= count) continue;
    // With something in it, it was seen in part at least.
    coverage[at] = row.coverage;
    const name = nameOf(row, labels);
    // Of the labels themselves: names of different ones may be alike.
    const own = labels.map((label) => row[label]);
    if (chosen === SPREAD) for (const name of QUANTILES) add(name, at, row.value?.[name] ?? null);
    else if (kind !== "top") add(name, at, row.value === null ? null : chosen.get(row.value), JSON.stringify(own));
    else for (const { key, count } of row.value ?? []) add([name, key || "(empty)"].filter(Boolean).join(" · "), at, count, JSON.stringify([...own, key]));
  }
  const series = [...found.values()].map((each) => ({ ...each, ...summary(each.values, chosen.isSum) }));
  series.sort((a, b) => b.weight - a.weight || (a.name < b.name ? -1 : 1));
  const times = Array.from({ length: count + 1 }, (_, at) => start + at * step);
  const isNegative = series.some(({ values }) => values.some((value) => value < 0));
  const drawn = chosen.isSum && !isNegative ? foldRest(series, empty) : series.slice(0, SERIES_MAX);
  const hidden = chosen.isSum && !isNegative ? 0 : series.length - drawn.length;
  return { times, step, coverage, part: chosen, series: drawn, hidden, all: series.length, canSpread, isStacked: chosen.isSum && !isNegative };
}

function summary(values, isSum) {
  const known = values.filter((value) => value !== null);
  const total = known.reduce((sum, value) => sum + value, 0);
  const peak = known.length ? known.reduce((most, value) => Math.max(most, value)) : null;
  return { total, peak, weight: isSum ? total : (peak ?? 0) };
}

/** The smallest as one, where they can be added up. */
function foldRest(series, empty) {
  if (series.length <= SERIES_MAX) return series;
  const rest = series.slice(SERIES_MAX - 1);
  const values = empty();
  for (const each of rest) each.values.forEach((value, at) => value !== null && (values[at] = (values[at] ?? 0) + value));
  const folded = { name: plural(rest.length, "other"), values, isRest: true, ...summary(values, true) };
  return [...series.slice(0, SERIES_MAX - 1), folded];
}

function coverageOf(answer, start, step, count) {
  const coverage = new Array(count).fill("complete");
  for (const range of answer.coverage ?? []) {
    const from = Math.max(0, Math.round((Date.parse(range.start) / 1000 - start) / step));
    const to = Math.min(count, Math.round((Date.parse(range.end) / 1000 - start) / step));
    coverage.fill(range.coverage, from, to);
  }
  return coverage;
}
