// Bars over time, stacked: from zero, with axes, what was not seen hatched, the numbers when pointed at and as a table.
"use strict";

const Chart = (() => {
  const { h, svg, compact, number, table } = Dashboard;
  const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [260, 48, 8, 10, 24];
  const MINUTE = 60e3;
  const DAY = 86400e3;

  /** Steps of a bucketed answer from its start to its end, with the coverage of each. */
  const steps = (answer) => {
    const width = toMilliseconds(answer.step);
    const [start, end] = [Date.parse(answer.start), Date.parse(answer.end)];
    const runs = answer.coverage.map((run) => ({ ...run, start: Date.parse(run.start), end: Date.parse(run.end) }));
    return Array.from({ length: Math.max(0, Math.round((end - start) / width)) }, (_, at) => {
      const time = start + at * width;
      return { time, width, coverage: runs.find((run) => run.start <= time && time < run.end)?.coverage ?? "missing" };
    });
  };

  const UNITS = { s: 1e3, m: MINUTE, h: 60 * MINUTE, d: DAY, w: 7 * DAY };
  /** 1h30m in milliseconds. */
  const toMilliseconds = (step) => [...step.matchAll(/(\d+)([smhdw])/g)].reduce((sum, [, count, unit]) => sum + count * UNITS[unit], 0);

  /** Values of one label over the steps: one series each, the largest first, what is beyond `most` together as the last. */
  const series = (answer, label, most = 8) => {
    const columns = steps(answer);
    const at = new Map(columns.map(({ time }, index) => [time, index]));
    const found = new Map();
    for (const row of answer.rows) {
      const name = label ? row[label] : answer.unit ?? "";
      if (!found.has(name)) found.set(name, { name, values: columns.map(() => 0), total: 0 });
      const one = found.get(name);
      one.values[at.get(Date.parse(row.time))] += row.value;
      one.total += row.value;
    }
    const all = [...found.values()].sort((a, b) => b.total - a.total || (a.name < b.name ? -1 : 1));
    const shown = coloured(all.slice(0, most), most);
    const rest = all.slice(most);
    if (rest.length) {
      const sum = (index) => rest.reduce((total, { values }) => total + values[index], 0);
      shown.push({ name: `${rest.length} others`, values: columns.map((_, index) => sum(index)), total: rest.reduce((total, one) => total + one.total, 0), colour: "rest" });
    }
    return { columns, series: shown };
  };

  /** What has a colour keeps it while the page is open: others that grow take none away. */
  const colours = new Map();
  const coloured = (shown, most) => {
    for (const name of colours.keys()) if (!shown.some((one) => one.name === name)) colours.delete(name);
    for (const { name } of shown) {
      const taken = new Set(colours.values());
      if (!colours.has(name)) colours.set(name, Array.from({ length: most }, (_, index) => `s${index}`).find((colour) => !taken.has(colour)));
    }
    return shown.map((one) => ({ ...one, colour: colours.get(one.name) }));
  };

  /** The end of an axis and its marks: round numbers from zero. */
  const scale = (most) => {
    const rough = Math.max(most, 1) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = Math.max(1, [1, 2, 5, 10].find((each) => each * power >= rough) * power);
    const count = Math.max(1, Math.ceil(most / step));
    return { top: count * step, marks: Array.from({ length: count + 1 }, (_, at) => at * step) };
  };

  const SPACES = [1, 5, 15, 30, 60, 180, 360, 720, 1440, 2880, 10080, 20160, 43200, 87840].map((minutes) => minutes * MINUTE);
  const dayAndMonth = Dashboard.show({ month: "short", day: "numeric" });
  /** Moments for the axis, at most `room` of them. */
  const moments = (start, end, room) => {
    const space = SPACES.find((space) => (end - start) / space <= room) ?? SPACES.at(-1);
    const first = Math.ceil(start / space) * space;
    const times = Array.from({ length: Math.max(0, Math.floor((end - 1 - first) / space) + 1) }, (_, at) => first + at * space);
    return times.map((time) => ({ time, text: space >= DAY || time % DAY === 0 ? dayAndMonth(time) : Dashboard.clock(time) }));
  };

  /** When a column is, in words. */
  const when = ({ time, width }) => {
    if (width === DAY) return `${Dashboard.day(time)} UTC`;
    return width > DAY ? `${Dashboard.day(time)} – ${Dashboard.day(time + width - DAY)} UTC` : `${Dashboard.day(time)}, ${Dashboard.clock(time)}–${Dashboard.clock(time + width)} UTC`;
  };

  const hatch = () => svg("defs", null, svg("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("line", { class: "stripe", x1: 0, x2: 0, y1: 0, y2: 6 })));

  const paint = ({ columns, series }, label, width, point) => {
    const totals = columns.map((_, at) => series.reduce((sum, { values }) => sum + values[at], 0));
    const { top, marks } = scale(Math.max(0, ...totals));
    const [inner, tall] = [width - LEFT - RIGHT, HEIGHT - TOP - BOTTOM];
    const [start, end] = [columns[0].time, columns.at(-1).time + columns[0].width];
    const x = (time) => LEFT + ((time - start) / (end - start)) * inner;
    const y = (value) => TOP + tall - (value / top) * tall;
    const wide = inner / columns.length;
    const gap = wide > 4 ? 1 : 0;
    const grid = marks.map((mark) => [
      svg("line", { class: mark === 0 ? "base" : "grid", x1: LEFT, x2: width - RIGHT, y1: y(mark), y2: y(mark) }),
      svg("text", { x: LEFT - 8, y: y(mark) + 4, "text-anchor": "end" }, compact(mark)),
    ]);
    const days = moments(start, end, inner / 70).map(({ time, text }) => svg("text", { x: x(time), y: HEIGHT - 6, "text-anchor": x(time) < LEFT + 20 ? "start" : x(time) > width - 30 ? "end" : "middle" }, text));
    const holes = columns.map(({ time, coverage }) => coverage === "missing" && svg("rect", { x: x(time), y: TOP, width: wide, height: tall, fill: "url(#hatch)" }));
    const bars = columns.map(({ time, coverage }, at) => {
      let below = 0;
      return series.map(({ values, colour }) => {
        const [from, to] = [y(below), y((below += values[at]))];
        return values[at] > 0 && svg("rect", { class: `fill ${colour} ${coverage}`, x: x(time) + gap / 2, y: to, width: Math.max(0.5, wide - gap), height: from - to });
      });
    });
    const hits = columns.map(({ time }, at) => svg("rect", { class: "hit", x: x(time), y: TOP, width: wide, height: tall, onpointerenter: () => point(at, x(time) + wide / 2, totals[at]), onpointerleave: () => point(null) }));
    return svg("svg", { height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label }, hatch(), holes, grid, days, bars, hits);
  };

  const COVERAGE = { partial: "The bus was not seen for all of it.", missing: "The bus was not seen." };

  /** What a column says when it is pointed at. */
  const told = ({ columns, series }, at, total) => [
    h("strong", null, when(columns[at])),
    h("ul", null, series.filter(({ values }) => values[at]).map(({ name, values, colour }) => h("li", null, h("span", { class: `swatch ${colour}` }), name, h("span", { class: "value" }, number(values[at]))))),
    series.length > 1 && h("div", null, `${number(total)} in all`),
    COVERAGE[columns[at].coverage] && h("div", null, COVERAGE[columns[at].coverage]),
  ];

  /** The figure: bars as wide as there is room, drawn again when that changes. */
  const bars = (drawn, label) => {
    if (!drawn.columns.length) return h("p", { class: "note" }, "Nothing is kept of this time.");
    const tip = h("div", { class: "tip", hidden: true, "aria-hidden": "true" });
    const box = h("div", { class: "chart" }, tip);
    const point = (at, x, total) => {
      tip.hidden = at === null;
      if (at === null) return;
      tip.replaceChildren(...told(drawn, at, total).filter(Boolean));
      tip.style.left = x > box.clientWidth / 2 ? "" : `${x + 12}px`;
      tip.style.right = x > box.clientWidth / 2 ? `${box.clientWidth - x + 12}px` : "";
    };
    Dashboard.fit(box, (width) => {
      box.querySelector("svg")?.remove();
      box.prepend(paint(drawn, label, width, point));
    });
    return box;
  };

  /** Which colour is what, with the totals. */
  const legend = ({ series, columns }) =>
    h("ul", { class: "legend" },
      series.map(({ name, total, colour }) => h("li", null, h("span", { class: `swatch ${colour}` }), name, h("span", { class: "value" }, number(total)))),
      columns.some(({ coverage }) => coverage === "partial") && h("li", null, h("span", { class: "swatch s0 partial" }), "Pale: not complete"),
      columns.some(({ coverage }) => coverage === "missing") && h("li", null, h("span", { class: "swatch hatched" }), "The bus was not seen"),
    );

  /** The same as a table, for who cannot see it or wants the numbers. */
  const asTable = (drawn, label) => {
    const heads = ["Time", ...drawn.series.map(({ name }) => [name, "number"]), "Coverage"];
    const rows = drawn.columns.map((column, at) => [when(column), ...drawn.series.map(({ values }) => number(values[at])), column.coverage]);
    return h("details", null, h("summary", null, "As a table"), table(label, heads, rows));
  };

  return { series, steps, bars, legend, asTable, when };
})();
