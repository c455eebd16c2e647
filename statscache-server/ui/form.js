// The form of a question: from its parameters to fields and back. It knows which parameters a metric takes.

import { byId, debounce, h, inline, replace } from "./dom.js";
import { labelValues } from "./api.js";

const RANGES = [["now-15m", "15 min"], ["now-1h", "1 hour"], ["now-6h", "6 hours"], ["now-1d", "1 day"], ["now-7d", "7 days"], ["now-30d", "30 days"]];

const HELP = {
  start: "2026-01-31T12:00Z, 2026-01-31, seconds since 1970, now-1h",
  end: "the same; empty: now",
  step: "a multiple of a tier; empty: what fits",
  max_points: "without a step: how many buckets at most",
};

/** A form in that element; `ask` is called when a question is to be asked. */
export function questionForm(element, ask) {
  const box = byId("question");
  let metric;
  let fields = new Map();
  const form = {
    /** Shows the parameters of a question to that metric. */
    show(plugin, next, pairs) {
      metric = next;
      fields = new Map();
      replace(box, layout(metric, pairs, fields, () => form.ask()));
    },
    /** The parameters as they stand: names and values, in order. */
    pairs() {
      const pairs = [];
      for (const field of fields.values()) pairs.push(...field.read());
      const isStepped = pairs.some(([name]) => name === "step");
      return pairs.filter(([name]) => !(isStepped && name === "max_points"));
    },
    /** Says beside the parameter what is wrong with it; whether there is such a field. */
    refuse(error) {
      form.accept();
      const field = fields.get(error.parameter);
      if (!field) return false;
      field.refuse(error.allowed ? `Not “${error.value ?? ""}”. Allowed: ${error.allowed}` : error.message);
      return true;
    },
    /** Nothing is wrong. */
    accept: () => fields.forEach((field) => field.accept()),
    ask: () => ask(),
  };
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    form.ask();
  });
  return form;
}

function layout(metric, pairs, fields, ask) {
  const isBucketed = Boolean(metric.tiers);
  const values = (name) => pairs.filter(([each]) => each === name).map(([, value]) => value);
  const add = (name, field) => {
    fields.set(name, field);
    return field.element;
  };
  const text = (name, label, more) => add(name, textField(name, label, values(name)[0] ?? "", more));
  const choice = (name, label, options) => add(name, choiceField(name, label, values(name)[0] ?? "", options));
  const start = text("start", "Start", { hint: HELP.start });
  const end = text("end", "End", { hint: HELP.end });
  const presets = ranges(fields, isBucketed, ask);
  const widths = (metric.tiers ?? []).map((tier) => tier.split(" ")[0]);
  const steps = isBucketed && [
    text("step", "Step", { hint: HELP.step, options: widths, placeholder: "automatic" }),
    text("max_points", "Points at most", { hint: HELP.max_points, inputmode: "numeric", placeholder: "automatic" }),
  ];
  const filters = metric.labels.map((label) => add(`where.${label}`, filterField(metric, label, values(`where.${label}`))));
  const by = metric.labels.length > 0 && add("by", byField(metric.labels, pairs.some(([name]) => name === "by") ? values("by").join(",").split(",") : null));
  const rest = restOf(metric, isBucketed, { text, choice });
  const isRestUsed = pairs.some(([name]) => ["order", "fill", "rollup", "depth", "path"].includes(name));
  return [
    presets,
    h("div", { class: "fields" }, start, end, steps, filters, by),
    h("details", { open: isRestUsed }, h("summary", null, isBucketed ? "Order, limit and gaps" : "Order, limit and sums"), h("div", { class: "fields" }, rest)),
  ];
}

function restOf(metric, isBucketed, { text, choice }) {
  const names = ["time", "value", ...metric.labels];
  const orders = names.flatMap((name) => [[name, `${name}, smallest first`], [`-${name}`, `${name}, greatest first`]]);
  const fills = [["", "no row"], ["null", "0 where known, else null"], ["zero", "0"]];
  const paths = [["", "the first label"], ...metric.labels.map((label) => [label, label])];
  return [
    choice("order", "Order", [["", "as usual"], ...orders]),
    text("limit", "Rows at most", { inputmode: "numeric", placeholder: "as many as there may be" }),
    isBucketed && choice("fill", "For buckets with nothing", fills),
    !isBucketed && metric.labels.length > 0 && [
      choice("rollup", "Add up along a path", [["", "no"], ["sum", "sum of numbers"]]),
      text("depth", "Parts of the path", { inputmode: "numeric", placeholder: "1" }),
      choice("path", "Which label is the path", paths),
    ],
  ];
}

/** The frame of a field: its label, its hint, and what is wrong. */
function field(name, label, control, { hint, read, group = false, box = control }) {
  const id = `field-${name}`;
  const error = h("p", { class: "problem", id: `${id}-error`, hidden: true });
  const help = hint && h("p", { class: "hint", id: `${id}-hint` }, hint);
  control.setAttribute("aria-describedby", [hint && `${id}-hint`, `${id}-error`].filter(Boolean).join(" "));
  const caption = group ? h("span", { class: "label", id: `${id}-label` }, label) : h("label", { for: control.id }, label);
  const element = h("div", { class: group ? "field wide" : "field" }, caption, box, help, error);
  return {
    element,
    read,
    refuse(text) {
      replace(error, inline(text));
      error.hidden = false;
      control.setAttribute("aria-invalid", "true");
      control.closest("details")?.setAttribute("open", "");
      (control.matches("input, select") ? control : control.querySelector("input"))?.focus();
    },
    accept() {
      error.hidden = true;
      replace(error);
      control.removeAttribute("aria-invalid");
    },
  };
}

function textField(name, label, value, { hint, options, ...more } = {}) {
  const id = `field-${name}`;
  const list = options?.length > 0 && h("datalist", { id: `${id}-list` }, options.map((option) => h("option", { value: option })));
  const input = h("input", { id, name, value, autocomplete: "off", spellcheck: "false", list: list ? list.id : null, ...more });
  const box = h("div", { class: "box" }, input, list);
  const result = field(name, label, input, { hint, box, read: () => (input.value.trim() ? [[name, input.value.trim()]] : []) });
  return { ...result, input };
}

function choiceField(name, label, value, options) {
  const select = h("select", { id: `field-${name}`, name }, options.map(([option, text]) => h("option", { value: option, selected: option === value }, text)));
  // What a link says and the list does not have is shown as it is, and refused by who is asked.
  if (value && !options.some(([option]) => option === value)) select.append(h("option", { value, selected: true }, value));
  return field(name, label, select, { read: () => (select.value ? [[name, select.value]] : []) });
}

/** One label's alternatives, each with the values that were observed. */
function filterField(metric, label, values) {
  const name = `where.${label}`;
  const inputs = h("div", { class: "box alternatives", role: "group", "aria-labelledby": `field-${name}-label` });
  const parts = [];
  const add = (value) => {
    const one = alternative(metric, label, value, parts.length);
    parts.push(one);
    inputs.insertBefore(one.element, button);
    return one;
  };
  const button = h("button", { type: "button", class: "quiet", onclick: () => add().element.querySelector("input").focus() }, "or …", h("span", { class: "offscreen" }, ` another ${label}`));
  inputs.append(button);
  (values.length ? values : [undefined]).forEach((value) => add(value));
  const read = () => parts.map((one) => one.read()).filter((value) => value !== undefined).map((value) => [name, value]);
  return field(name, label, inputs, { hint: "* stands for any characters", read, group: true });
}

/** One value. What a link or the list has stays as it is, with spaces, line breaks, or nothing in it; what is typed is trimmed. */
function alternative(metric, label, value, at) {
  const id = `field-where.${label}-${at}`;
  const list = h("datalist", { id: `${id}-list` });
  const input = h("input", { id, value: value ?? "", name: `where.${label}`, list: list.id, autocomplete: "off", spellcheck: "false", placeholder: "any", "aria-label": at ? `${label}, or` : label });
  const shown = input.value;
  const known = new Set();
  const read = () => (input.value === shown ? value : (known.has(input.value) ? input.value : input.value.trim()) || undefined);
  let asked;
  const suggest = async () => {
    const text = input.value.trim();
    if (text === asked) return;
    asked = text;
    const found = await labelValues(metric.links.values, label, text);
    found.forEach((option) => known.add(option));
    if (text === asked) replace(list, found.map((option) => h("option", { value: option })));
  };
  input.addEventListener("focus", suggest);
  input.addEventListener("input", debounce(200, suggest));
  return { element: h("span", null, input, list), read };
}

/** Labels that are kept; `kept` null: all. */
function byField(labels, kept) {
  const boxes = labels.map((label) => h("input", { type: "checkbox", id: `field-by-${label}`, value: label, checked: !kept || kept.includes(label) }));
  const items = boxes.map((box, at) => h("label", { class: "check", for: box.id }, box, ` ${labels[at]}`));
  const group = h("div", { class: "box checks", role: "group", "aria-labelledby": "field-by-label" }, items);
  const read = () => {
    const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
    return chosen.length === labels.length ? [] : [["by", chosen.join(",")]];
  };
  return field("by", "Tell apart by", group, { hint: "without any: everything together", read, group: true });
}

/** Buttons for usual ranges: each fills in the range, and asks. */
function ranges(fields, isBucketed, ask) {
  const inputs = () => [fields.get("start").input, fields.get("end").input];
  const all = isBucketed ? RANGES : [["", "All"], ...RANGES];
  const buttons = all.map(([start, text]) => h("button", { type: "button", "data-start": start, onclick: () => choose(start) }, text));
  const mark = () => {
    const [from, to] = inputs().map((input) => input.value.trim());
    // An hour is what no start means, where there are buckets.
    const start = from || (isBucketed ? "now-1h" : "");
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.start === start && (!to || to === "now")));
  };
  const choose = (start) => {
    const [from, to] = inputs();
    from.value = start;
    to.value = "";
    mark();
    ask();
  };
  for (const input of inputs()) input.addEventListener("input", mark);
  mark();
  return h("div", { class: "ranges", role: "group", "aria-label": "The last …" }, h("span", { class: "label", "aria-hidden": "true" }, "The last"), buttons);
}
