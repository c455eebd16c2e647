// Numbers, times and spans of time as people read them.

import { h } from "./dom.js";

const LOCAL = Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";

let zone = "UTC";
try {
  if (localStorage.getItem("zone") === "local") zone = LOCAL;
} catch {
  // Without storage nothing is remembered.
}

/** The zone in which times are shown. */
export const shownZone = () => zone;
export const localZone = LOCAL;

/** Shows times in the reader's own zone, or in UTC. */
export function showLocal(isLocal) {
  zone = isLocal ? LOCAL : "UTC";
  try {
    localStorage.setItem("zone", isLocal ? "local" : "UTC");
  } catch {
    // As above.
  }
}

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const digits = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 5 });
const large = new Intl.NumberFormat(undefined, { notation: "scientific", maximumFractionDigits: 4 });
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

/** All digits of a whole number; five of another, and of one that is so large that the last ones are not exact. */
export function number(value) {
  if (typeof value !== "number") return String(value);
  if (Math.abs(value) > Number.MAX_SAFE_INTEGER) return large.format(value);
  if (Number.isInteger(value) || Math.abs(value) >= 1e5) return whole.format(value);
  return digits.format(value);
}

/** For axes: 12, 1.2K, 3.4M. */
export const compact = (value) => (Math.abs(value) < 10000 || Math.abs(value) >= 1e15 ? number(value) : short.format(value));

export const bytes = (value) =>
  new Intl.NumberFormat(undefined, { style: "unit", unit: "byte", notation: "compact", unitDisplay: "narrow" }).format(value);

/** One thing or many. */
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** So many of what a metric counts: its unit is written as of many. */
export const units = (count, unit) => `${number(count)} ${count === 1 ? unit.replace(/s$/, "") : unit}`.trim();

const formatters = new Map();

/** Made once for each zone: to make one takes much longer than to use it. */
function formatter(name, options, timeZone) {
  const key = `${name} ${timeZone}`;
  if (!formatters.has(key)) formatters.set(key, new Intl.DateTimeFormat(undefined, { hourCycle: "h23", ...options, timeZone }));
  return formatters.get(key);
}

const DAY = { year: "numeric", month: "short", day: "2-digit" };
const TIME = { hour: "2-digit", minute: "2-digit", second: "2-digit" };

/** Date and time of day in a zone. */
export function moment(date, timeZone = zone) {
  return formatter("moment", { ...DAY, ...TIME }, timeZone).format(date);
}

/** Time of day alone. */
export const clock = (date) => formatter("clock", TIME, zone).format(date);

/** The day that something is of, where times are shown. */
export const day = (text) => formatter("day", DAY, zone).format(new Date(text));

export const isToday = (text) => day(text) === day(Date.now());

/** From one moment to another; the date once, where it is the same. */
export function range(from, to) {
  return [time(from), "–", time(to, day(from) === day(to) ? clock : moment), ` ${zone}`];
}

/** A moment, with the same in the other zone to be read when pointed at. */
export function time(text, show = moment) {
  const date = new Date(text);
  const other = zone === "UTC" ? LOCAL : "UTC";
  return h("time", { datetime: text, title: `${moment(date, other)} ${other}` }, show(date));
}

const STEPS = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "always", style: "long" });

/** How long before the present something was: 3 minutes ago. */
export function ago(text, now = Date.now()) {
  const seconds = Math.round((now - new Date(text)) / 1000);
  if (Math.abs(seconds) < 2) return "just now";
  const [width, unit] = STEPS.find(([width]) => Math.abs(seconds) >= width) ?? STEPS[3];
  return relative.format(-Math.trunc(seconds / width), unit);
}

/** Seconds in words: 2 hours. */
export function span(seconds) {
  const [width, unit] = STEPS.find(([width]) => seconds >= width) ?? STEPS[3];
  return plural(Math.round(seconds / width), unit);
}

const UNITS = { ms: 0.001, s: 1, m: 60, min: 60, h: 3600, d: 86400, w: 604800 };

/** Seconds of a width such as 5s, 1m, 90m. */
export function seconds(text) {
  const match = /^(\d+(?:\.\d+)?)(ms|s|min|m|h|d|w)$/.exec(text ?? "");
  return match ? Number(match[1]) * UNITS[match[2]] : NaN;
}

/** A parameter's moment in milliseconds, where it is of a usual form: now-6h, 2026-01-31, 2026-01-31T12:00Z. */
export function momentOf(text, now) {
  const past = /^now-(.+)$/.exec(text ?? "");
  if (past) return Date.parse(now) - seconds(past[1]) * 1000;
  return Date.parse(/T[\d:.]+$/.test(text ?? "") ? `${text}Z` : /^\d{4}-/.test(text ?? "") ? text : "");
}
