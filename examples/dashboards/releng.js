// The newest entries of the release engineering log, in the order of the plugin's layout.
"use strict";
{
  const { h, ago, moment, get, link, run, part } = Dashboard;
  const SHOWN = 8;
  let layout;

  const questions = () => ({ log: { plugin: "releng", metric: "log" } });

  /** Tone of a status by the layout's class, which is one of Bootstrap's; the word says the same without the colour. */
  const TONES = { "text-warning": "busy", "text-primary": "good", "text-danger": "bad" };

  const entry = ({ time, value }, options, now) => {
    const status = (value.status ?? "").toLowerCase();
    const verb = options.status_verb_map?.[status] ?? status;
    const name = h("span", null, options.link_for === "message" ? value.name : link(value.link ?? (options.link_for === "name" ? value.extra_link : undefined), value.name));
    const extra = value.extra_text && h("span", { class: "muted" }, link(value.extra_link, value.extra_text));
    const at = Date.parse(time);
    return h("li", { "data-status": status }, name, options.show_status !== false && verb && h("span", { class: `state ${TONES[options.status_class_map?.[status]] ?? ""}` }, verb), extra, h("time", { datetime: time, title: moment(at) }, ago(at, now)));
  };

  const component = (one, rows, defaults, now) => {
    const options = { ...defaults, ...one };
    const mine = rows.filter(({ category }) => category === one.id).slice(0, SHOWN);
    const list = mine.length ? h("ul", { class: "log" }, mine.map((row) => entry(row, options, now))) : h("p", { class: "muted" }, "Nothing yet.");
    return h("div", { "data-component": one.id }, h("h3", null, one.name), list);
  };

  const NAMES = { compose: "Composes", updates: "Updates", amis: "Cloud images" };

  const draw = async ({ log }, now) => {
    if (log.problem) return null;
    // It is part of the plugin: asked once.
    layout ??= await get("plugins/releng/layout");
    const groups = layout.groups.map(({ id, name, components }) => part(name ?? NAMES[id] ?? id, h("div", { class: "columns" }, components.map((one) => component(one, log.rows, layout.default_options, now)))));
    return [log.rows.length === 0 && h("p", { class: "note" }, "Nothing of a release was heard yet."), groups];
  };

  run({ questions, draw, seconds: 30 });
}
