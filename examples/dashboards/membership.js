// Distinct members and cities of each group.
"use strict";
{
  const { h, estimate, number, plural, run, part, table } = Dashboard;
  const { range } = document.querySelector("form").elements;

  const questions = () => {
    const of = (metric, more) => ({ plugin: "membership", metric, start: `now-${range.value}`, step: "all", ...more });
    return {
      members: of("members", { order: "-value", limit: 100 }),
      cities: of("cities"),
      reports: of("reports"),
      allMembers: of("all_members"),
      allCities: of("all_cities"),
    };
  };

  const byGroup = ({ rows }) => new Map((rows ?? []).map(({ group, value }) => [group, value]));
  const figure = (name, value) => h("div", null, h("dt", null, name), h("dd", null, value));

  const draw = ({ members, cities, reports, allMembers, allCities }) => {
    if (members.problem) return null;
    const words = range.selectedOptions[0].textContent;
    const [cityOf, reportsOf] = [byGroup(cities), byGroup(reports)];
    const row = ({ group, value }) => [group, estimate(value), estimate(cityOf.get(group)), number(reportsOf.get(group) ?? 0)];
    const heads = ["Group", ["Members", "number"], ["Cities", "number"], ["Reports", "number"]];
    return part(`In the ${words}`,
      h("dl", { class: "figures" },
        figure("Members, each once", estimate(allMembers.rows?.[0]?.value)),
        figure("Cities, each once", estimate(allCities.rows?.[0]?.value)),
        figure("Groups", `${number(members.total)}`)),
      members.rows.length ? table(`Of ${plural(members.total, "group")} those with most members`, heads, members.rows.map(row)) : h("p", { class: "note" }, "No report in this time."));
  };

  run({ questions, draw, seconds: 30 });
}
