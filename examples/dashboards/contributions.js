// A person's year as a calendar, and who is most active.
"use strict";
{
  const { h, bar, byId, day, get, number, plural, pageUrl, run, part, table, show } = Dashboard;
  const DAY = 86400e3;
  const form = document.querySelector("form");
  const { user } = form.elements;
  const monthOf = show({ month: "short" });
  /** Monday is 0. */
  const weekday = (time) => (new Date(time).getUTCDay() + 6) % 7;

  const questions = () => {
    const actions = { plugin: "contributions", metric: "actions" };
    return {
      most: { ...actions, by: ["user"], start: "now-30d", step: "all", order: "-value", limit: 10 },
      ...(user.value && { year: { ...actions, where: { user: user.value }, by: ["user"], start: "now-365d", step: "1d" } }),
      ...(user.value && { kinds: { ...actions, where: { user: user.value }, by: ["category"], start: "now-365d", step: "all", order: "-value" } }),
    };
  };

  /** Days of the year with what was done on them; null where the bus was not seen and nothing is known. */
  const daysOf = (year) => {
    const counts = new Map(year.rows.map(({ time, value }) => [Date.parse(time), value]));
    return Chart.steps(year).map(({ time, coverage }) => ({ time, coverage, count: counts.get(time) ?? (coverage === "missing" ? null : 0) }));
  };

  /** Ends of the four shades: quarters of what was done on busy days, so that one very busy day does not make all others pale. */
  const shadesOf = (days) => {
    const busy = days.map(({ count }) => count).filter(Boolean).sort((a, b) => a - b);
    return [...new Set([0.25, 0.5, 0.75].map((share) => busy[Math.floor(share * (busy.length - 1))] ?? 1))];
  };
  const shade = (count, ends) => (count === null ? "missing" : count === 0 ? "step0" : `step${1 + ends.filter((end) => count > end).length}`);

  const told = ({ time, count, coverage }) => {
    const what = count === null ? "not known, the bus was not seen" : plural(count, "action");
    return `${day(time)}: ${what}${count !== null && coverage === "partial" ? "; the bus was not seen all day" : ""}`;
  };

  /** Weeks as columns, days as rows. */
  const calendar = (days, ends) => {
    const first = days[0].time - weekday(days[0].time) * DAY;
    const column = (time) => Math.floor((time - first) / DAY / 7) + 2;
    const cell = (one) => at(h("div", { class: `day ${shade(one.count, ends)}`, title: told(one) }), weekday(one.time) + 2, column(one.time));
    const months = days.filter(({ time }) => new Date(time).getUTCDate() === 1).map(({ time }) => at(h("div", { class: "month" }, monthOf(time)), 1, column(time)));
    const names = [["Mon", 2], ["Wed", 4], ["Fri", 6]].map(([name, row]) => at(h("div", { class: "weekday" }, name), row, 1));
    const box = h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Calendar; the same as a table is below" }, h("div", { class: "calendar", "aria-hidden": "true" }, months, names, days.map(cell)));
    // Where not all of it fits, the newest weeks are seen first.
    if (!byId("content").querySelector(".calendar")) Dashboard.fit(box, () => (box.scrollLeft = box.scrollWidth));
    return box;
  };

  const at = (element, row, column) => {
    [element.style.gridRow, element.style.gridColumn] = [row, column];
    return element;
  };

  const legend = (ends) => {
    const range = (end, at) => (at === 0 ? (end === 1 ? "1" : `1–${end}`) : ends[at - 1] + 1 === end ? `${end}` : `${ends[at - 1] + 1}–${end}`);
    const known = ["none", ...ends.map(range), "more"].map((text, step) => h("span", null, h("span", { class: `day step${step}` }), text));
    return h("p", { class: "scale" }, "Actions a day:", known, h("span", null, h("span", { class: "day missing" }), "not known"));
  };

  const drawYear = (year) => {
    const days = daysOf(year);
    if (!days.length) return h("p", { class: "note" }, "Nothing is kept of this time.");
    const ends = shadesOf(days);
    const active = days.filter(({ count }) => count > 0);
    const total = active.reduce((sum, { count }) => sum + count, 0);
    const most = active.reduce((most, one) => (one.count > (most?.count ?? 0) ? one : most), undefined);
    const rows = [...active].reverse().map(({ time, count }) => [day(time), number(count)]);
    if (!total) return h("p", { class: "note" }, `${user.value} did nothing in this year, or is not known: names are as the messages have them.`);
    return [
      h("p", null, h("strong", null, plural(total, "action")), ` on ${plural(active.length, "day")}${most ? `; most on ${day(most.time)}: ${number(most.count)}` : ""}.`),
      calendar(days, ends),
      legend(ends),
      h("details", null, h("summary", null, "As a table"), table("Days with actions, the newest first", ["Day", ["Actions", "number"]], rows)),
    ];
  };

  const ranking = (caption, name, rows, cell) => {
    const most = Math.max(...rows.map(({ value }) => value));
    return table(caption, [name, ["Actions", "number"], ["", "bar"]], rows.map((row) => [cell(row), number(row.value), bar(row.value, most)]));
  };

  const draw = ({ most, year, kinds }) => {
    if (most.problem) return null;
    if (!user.value && most.rows.length) {
      // Nobody was chosen: the first page shows somebody.
      user.value = most.rows[0].user;
      queueMicrotask(load);
      return null;
    }
    const toPerson = (row) => h("a", { href: pageUrl("contributions.html", { user: row.user }) }, row.user);
    return [
      year?.rows && part(`The year of ${user.value}`, drawYear(year)),
      h("div", { class: "columns" },
        part("Most active", most.rows.length ? ranking("In the last 30 days", "Person", most.rows, toPerson) : h("p", { class: "note" }, "Nobody did anything in the last 30 days.")),
        kinds?.rows.length > 0 && part("What it was", ranking(`Actions of ${user.value} in the last year`, "Category", kinds.rows, (row) => row.category))),
    ];
  };

  const load = run({ questions, draw, seconds: 60 });
  Dashboard.suggest(user, "plugins/contributions/actions/labels/user");
}
