// Sites: which are up, how reliable they were, how fast they answer; and chains of sites that need each other.
"use strict";
{
  const { h, svg, ago, moment, clock, number, percent, plural, span, link, run, part, table } = Dashboard;
  const HOUR = 3600e3;
  /** Without a check for so long, what was seen last says nothing about now. */
  const SILENT = 15 * 60e3;
  /** Sites on the board, those that are down first. */
  const SHOWN = 100;

  const questions = () => {
    const of = (metric, more) => ({ plugin: "uptime", metric, ...more });
    const up = (start) => of("up", { start, step: "all" });
    const chain = (start) => of("chains", { start, step: "all", by: ["chain"], rollup: "product" });
    return {
      state: of("state"),
      good: of("last_good"),
      day: up("now-24h"),
      week: up("now-7d"),
      month: up("now-30d"),
      times: of("response_seconds", { start: "now-24h", step: "all" }),
      // The newest first: if there are too many, the oldest are left out.
      halves: of("up", { start: "now-24h", step: "1h", order: "-time" }),
      failures: of("failures", { limit: 20 }),
      chainsDay: chain("now-24h"),
      chainsMonth: chain("now-30d"),
      chainSites: of("chains", { start: "now-30d", step: "all" }),
    };
  };

  const by = (label, answer) => new Map((answer.rows ?? []).map((row) => [row[label], row]));
  const mean = (row) => (row ? percent(row.value.mean) : "–");
  const seconds = (value) => (value === undefined ? "–" : value < 1 ? `${number(Math.round(value * 1000))} ms` : `${number(value)} s`);
  /** The name of a site is its address; without what all have in common it is easier to read. */
  const named = (site) => link(site, site.replace(/^https?:\/\//, "").replace(/\/$/, ""));

  /** What a plugin's word for a failure means. */
  const why = ({ reason } = {}) => {
    const status = /^http_(\d+)$/.exec(reason ?? "");
    if (status) return `HTTP status ${status[1]}`;
    return reason === "match" ? "the page is not as expected" : (reason ?? "–").replaceAll("_", " ");
  };

  const isSilent = (row, now) => now - Date.parse(row.time) > SILENT;
  const state = (row, now) => {
    if (isSilent(row, now)) return h("span", { class: "state" }, "? Not checked");
    return row.value.up ? h("span", { class: "state good" }, "✓ Up") : h("span", { class: "state bad" }, "✕ Down");
  };

  /** Since when: the last check that was good. */
  const since = (good, now) => (good ? `last good check ${ago(Date.parse(good.time), now)} (${moment(Date.parse(good.time))})` : "no good check is known");

  const incidents = (answers, now) => {
    const good = by("site", answers.good);
    const down = answers.state.rows.filter((row) => !row.value.up && !isSilent(row, now));
    if (!down.length) return part("Running incidents", h("p", { class: "muted" }, "None: every site that was checked is up."));
    const lines = down.map((row) => h("li", null, h("strong", null, named(row.site)), ` is down: ${why(row.value)}; ${since(good.get(row.site), now)}.`));
    return part("Running incidents", h("ul", { class: "log" }, lines));
  };

  /** Hours of the last day: the part of the checks that was good, from below; above it the others; a dash for no check. */
  const timeline = (site, halves, steps) => {
    const rows = new Map(halves.rows.filter((row) => row.site === site).map((row) => [Date.parse(row.time), row.value]));
    let [bad, none] = [0, 0];
    const bars = steps.map(({ time }, at) => {
      const value = rows.get(time);
      const place = { x: at, width: 0.86 };
      if (!value) return ++none && svg("rect", { class: "unknown", ...place, y: 18, height: 2 });
      if (value.mean < 1) bad += 1;
      const height = 20 * value.mean;
      const title = svg("title", null, `${clock(time)}–${clock(time + HOUR)} UTC: ${number(Math.round(value.sum))} of ${plural(value.n, "check")} good`);
      return svg("g", null, title, svg("rect", { class: "up", ...place, y: 20 - height, height }), svg("rect", { class: "down", ...place, y: 0, height: 20 - height }));
    });
    const words = `Last 24 hours: bad checks in ${plural(bad, "hour")}, no check in ${number(none)}`;
    return svg("svg", { class: "day24", viewBox: `0 0 ${Math.max(1, steps.length)} 20`, preserveAspectRatio: "none", role: "img", "aria-label": words }, svg("title", null, words), bars);
  };

  const board = (answers, now) => {
    const [day, week, month, times] = [answers.day, answers.week, answers.month, answers.times].map((answer) => by("site", answer));
    const steps = answers.halves.rows ? Chart.steps(answers.halves) : [];
    const order = (row) => (isSilent(row, now) ? 1 : row.value.up ? 2 : 0);
    const all = [...answers.state.rows].sort((a, b) => order(a) - order(b) || (a.site < b.site ? -1 : 1));
    const heads = ["Site", "State", ["24 h", "number"], ["7 d", "number"], ["30 d", "number"], ["p50", "number"], ["p95", "number"], ["Last 24 hours", "timeline"], ["Checked", "number"]];
    const rows = all.slice(0, SHOWN).map((row) => {
      const { site } = row;
      const time = times.get(site)?.value;
      return [named(site), state(row, now), mean(day.get(site)), mean(week.get(site)), mean(month.get(site)), seconds(time?.p50), seconds(time?.p95), steps.length ? timeline(site, answers.halves, steps) : "–", ago(Date.parse(row.time), now)];
    });
    const cut = all.length > SHOWN ? `; ${SHOWN} of ${number(all.length)} sites, those that are down first` : "";
    return part("Sites", table(`24 h, 7 d, 30 d: share of checks that were good. p50, p95: within which half, and 95 of 100, of the last 24 hours' answers came${cut}`, heads, rows, "cards"));
  };

  const chains = ({ chainsDay, chainsMonth, chainSites }) => {
    if (!chainsMonth.rows?.length) return null;
    const day = by("chain", chainsDay);
    const product = (row) => (row?.value && !row.value.missing ? percent(row.value.product) : "–");
    const shares = (chain) => (chainSites.rows ?? []).filter((row) => row.chain === chain).map((row, at) => [at > 0 && " × ", named(row.site), ` ${percent(row.value.mean)}`]);
    const parts = ({ chain, value: { parts, missing } }) => h("span", null, shares(chain), missing > 0 && `; ${number(missing)} of ${plural(parts + missing, "site")} not checked`);
    const rows = chainsMonth.rows.map((row) => [row.chain, product(day.get(row.chain)), product(row), parts(row)]);
    return part("Chains", table("A chain works while all of its sites do: the product of their shares of good checks", ["Chain", ["24 h", "number"], ["30 d", "number"], "Made of, 30 d"], rows, "cards"));
  };

  const failures = ({ failures }, now) => {
    const list = (failures.rows ?? []).flatMap((row) => (Array.isArray(row.value) ? row.value.map((each) => ({ site: row.site, ...each })) : [row]));
    const newest = list.map((one) => ({ ...one, at: Date.parse(one.time) })).sort((a, b) => b.at - a.at).slice(0, 20);
    if (!newest.length) return part("Newest failures", h("p", { class: "note" }, "None is known."));
    const rows = newest.map(({ site, at, value }) => [moment(at), named(site), why(value), `${span(now - at)} ago`]);
    return part("Newest failures", table("The newest 20 checks that were not good", ["Time", "Site", "Why", ["", "number"]], rows, "cards"));
  };

  const draw = (answers, now) => {
    if (answers.state.problem) return null;
    if (!answers.state.rows.length) return h("p", { class: "note" }, "No site has been checked yet.");
    const silent = answers.state.rows.filter((row) => isSilent(row, now)).length;
    const up = answers.state.rows.filter((row) => row.value.up && !isSilent(row, now)).length;
    const figures = h("p", null, h("strong", null, `${number(up)} of ${plural(answers.state.rows.length, "site")} up`), silent > 0 && `, ${number(silent)} not checked lately`);
    return [figures, incidents(answers, now), board(answers, now), chains(answers), failures(answers, now)];
  };

  run({ questions, draw, seconds: 10 });
}
