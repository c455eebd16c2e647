// How the links of a catalogue are used.
"use strict";
{
  const { h, bar, estimate, number, plural, link, query, run, part, table } = Dashboard;
  const form = document.querySelector("form");
  const { range, user } = form.elements;
  const MOST = 10;

  const of = (metric, more) => ({ plugin: "usage", metric, start: `now-${range.value}`, step: "all", ...more });

  const questions = () => {
    const most = { order: "-value", limit: MOST };
    return {
      uses: of("uses", most),
      all: of("uses", { by: [] }),
      active: of("active_users"),
      days: of("uses", { by: [], step: range.value === "365d" ? "1w" : "1d" }),
      ...(user.value && { favourites: of("favourites", { ...most, where: { user: user.value } }) }),
    };
  };

  /** Of these links: titles and addresses, as far as messages said them, and how many people used them. */
  const detailsOf = async (links) => {
    if (!links.length) return { titles: new Map(), people: new Map() };
    const where = { link: links };
    const { answers } = await query({ titles: { plugin: "usage", metric: "links", where }, people: of("users", { where }) });
    const byLink = ({ rows }) => new Map((rows ?? []).map((row) => [row.link, row.value]));
    return { titles: byLink(answers.titles), people: byLink(answers.people) };
  };

  const named = (id, titles) => {
    const { title, url } = titles.get(id) ?? {};
    return link(url ?? id, title ?? id);
  };

  const ranking = (caption, rows, titles, people) => {
    const most = Math.max(...rows.map(({ value }) => value));
    const heads = ["Link", ["Uses", "number"], ...(people ? [["People", "number"]] : []), ["", "bar"]];
    const cells = ({ link, value }) => [named(link, titles), number(value), ...(people ? [estimate(people.get(link))] : []), bar(value, most)];
    return table(caption, heads, rows.map(cells));
  };

  const figures = ({ all, active }) =>
    h("dl", { class: "figures" },
      h("div", null, h("dt", null, "Uses"), h("dd", null, number(all.rows?.[0]?.value ?? 0))),
      h("div", null, h("dt", null, "People"), h("dd", null, estimate(active.rows?.[0]?.value))));

  const draw = async (answers) => {
    const { uses, days, favourites } = answers;
    if (uses.problem) return null;
    const { titles, people } = await detailsOf([...new Set([...uses.rows, ...(favourites?.rows ?? [])].map(({ link }) => link))]);
    const words = range.selectedOptions[0].textContent;
    const drawn = days.problem ? { columns: [] } : Chart.series(days, null);
    const each = range.value === "365d" ? "week" : "day";
    return [
      part(`In the ${words}`, figures(answers), h("h3", null, `Uses per ${each}`), Chart.bars(drawn, `Uses per ${each}, ${words}`), drawn.series?.length > 0 && Chart.asTable(drawn, `Uses per ${each}, ${words}`)),
      h("div", { class: "columns" },
        part("Most used", uses.rows.length ? ranking(`The ${plural(uses.rows.length, "link")} used most in the ${words}`, uses.rows, titles, people) : h("p", { class: "note" }, "Nothing was used in this time.")),
        part("Favourites", favourites?.rows?.length ? ranking(`What ${user.value} used most in the ${words}`, favourites.rows, titles) : h("p", { class: "note" }, user.value ? `${user.value} used nothing in this time.` : "Choose a person above."))),
    ];
  };

  run({ questions, draw, seconds: 60 });
  Dashboard.suggest(user, "plugins/usage/favourites/labels/user");
}
