// Elements, figures as people read them, tables. It knows nothing of the daemon.
"use strict";

const Show = (() => {
  // Elements. Text is always text: nothing that a message says is read as HTML.
  const SVG = "http://www.w3.org/2000/svg";
  const build = (element, attributes, children) => {
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
    return element;
  };
  /** An element: h("p", { class: "note" }, "text", other). */
  const h = (tag, attributes, ...children) => build(document.createElement(tag), attributes, children);
  /** As h, of SVG. */
  const svg = (tag, attributes, ...children) => build(document.createElementNS(SVG, tag), attributes, children);
  const byId = (id) => document.getElementById(id);

  // Figures. Times are UTC, as the daemon's buckets are.
  const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
  const three = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
  const compactly = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
  const number = (value) => (Number.isInteger(value) || Math.abs(value) >= 1000 ? whole : three).format(value);
  const compact = (value) => (Math.abs(value) < 10000 ? number(value) : compactly.format(value));
  const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
  /** Bytes in powers of 1024, with the units that say so. */
  const bytes = (value) => {
    const power = Math.min(5, Math.floor(Math.log2(Math.max(1, Math.abs(value))) / 10));
    return `${three.format(value / 1024 ** power)} ${["B", "KiB", "MiB", "GiB", "TiB", "PiB"][power]}`;
  };
  /** A share as per cent, never rounded up to all. */
  const percent = (share) => (share >= 1 ? "100 %" : `${(Math.floor(share * 1e4 + 1e-6) / 100).toFixed(2)} %`);
  /** A way to write times, by what `Intl.DateTimeFormat` knows. */
  const show = (options) => {
    const format = new Intl.DateTimeFormat(undefined, { hourCycle: "h23", timeZone: "UTC", ...options });
    return (time) => format.format(new Date(time));
  };
  const day = show({ year: "numeric", month: "short", day: "numeric" });
  const clock = show({ hour: "2-digit", minute: "2-digit" });
  const moment = (time) => `${day(time)}, ${clock(time)} UTC`;
  /** Milliseconds in words: 25 minutes. */
  const span = (milliseconds) => {
    const [width, unit] = [[86400e3, "day"], [3600e3, "hour"], [60e3, "minute"], [1e3, "second"]].find(([width]) => milliseconds >= width) ?? [1e3, "second"];
    return plural(Math.max(0, Math.floor(milliseconds / width)), unit);
  };
  const ago = (time, now) => (now - time < 1000 ? "just now" : `${span(now - time)} ago`);

  // Pieces of pages.
  /** A link that a message has, where it is one of the web: others could run something. */
  const link = (url, ...text) => (/^https?:\/\//i.test(url ?? "") ? h("a", { href: url }, text) : text);

  /** A remark; `kind` is busy, bad or nothing. */
  const note = (kind, ...words) => h("p", { class: `note ${kind}` }, words);

  /** A table: heads are texts, or [text, class]; rows are lists of cells, the first of each its heading. */
  const table = (caption, heads, rows, className) => {
    const [names, classes] = [heads.map((head) => [head].flat()[0]), heads.map((head) => [head].flat()[1])];
    const cell = (content, at) => (at === 0 ? h("th", { scope: "row" }, content) : h("td", { class: classes[at], "data-label": names[at] }, content));
    const head = h("tr", null, names.map((name, at) => h("th", { scope: "col", class: classes[at] }, name)));
    const body = h("tbody", null, rows.map((row) => h("tr", null, row.map(cell))));
    return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption }, h("table", { class: className }, h("caption", null, caption), h("thead", null, head), body));
  };

  /** Calls with the width and height of an element, once it has some, and whenever its width is another. */
  const fit = (element, call) => {
    let last = 0;
    const look = () => {
      const [width, height] = [element.clientWidth, element.clientHeight];
      if (width > 0 && width !== last) call((last = width), height);
    };
    // Not at once: what is drawn may change sizes while they are told.
    new ResizeObserver(() => requestAnimationFrame(look)).observe(element);
  };

  /** A bar for a table, as long as the value is of the most. */
  const bar = (value, most) => svg("svg", { viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { class: "fill", width: (100 * value) / Math.max(1, most), height: 1 }));

  /** A distinct count: exact while few, else an estimate with how far off it may be. */
  const estimate = (distinct) => {
    if (!distinct) return "0";
    const { estimate, error } = distinct;
    return error ? [`≈ ${number(Math.round(estimate))}`, h("small", { class: "muted" }, ` ± ${number(Math.ceil(estimate * error))}`)] : number(estimate);
  };

  /** A part of a page, with its heading. */
  const part = (title, ...children) => {
    const id = `part-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
    return h("section", { "aria-labelledby": id }, h("h2", { id }, title), children);
  };

  return { h, svg, byId, number, compact, plural, bytes, percent, day, clock, moment, span, ago, show, link, note, table, fit, bar, estimate, part };
})();
