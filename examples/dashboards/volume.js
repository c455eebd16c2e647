// Messages over time, by category.
"use strict";
{
  const { h, number, run, part, span } = Dashboard;
  /** Steps that give some 50 bars; those of a week begin on Thursdays, since 1970 did. */
  const STEPS = { "1h": "1m", "6h": "10m", "24h": "30m", "7d": "3h", "30d": "12h", "365d": "1w" };
  const form = document.querySelector("form");

  const questions = () => {
    const range = form.elements.range.value;
    return { categories: { plugin: "volume", metric: "by_category", start: `now-${range}`, step: STEPS[range], order: "-time" } };
  };

  const draw = ({ categories }) => {
    if (categories.problem) return null;
    const drawn = Chart.series(categories, "category");
    const total = categories.rows.reduce((sum, { value }) => sum + value, 0);
    const last = drawn.columns.at(-1);
    const label = `Messages by category, ${form.elements.range.selectedOptions[0].textContent}`;
    return [
      part("Messages by category",
        h("p", { class: "muted" }, h("strong", null, number(total)), ` messages, in bars of ${span(last?.width ?? 0)} each. The newest bar is still growing.`),
        Chart.bars(drawn, label),
        total === 0 ? h("p", { class: "note" }, "No message in this time.") : Chart.legend(drawn),
        Chart.asTable(drawn, label)),
    ];
  };

  run({ questions, draw, seconds: 5 });
}
