// Elements from code. Text is always text: nothing that a plugin or a message says is read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false) element.append(child);
  }
}

/** An element: h("p", {class: "note"}, "text", otherElement). */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** As h, of SVG. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Puts these in the place of what the element has. */
export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** The element with that id, which is in the page. */
export const byId = (id) => document.getElementById(id);

/** Calls the last of several calls that come within so many milliseconds. */
export function debounce(milliseconds, call) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...args), milliseconds);
  };
}

/** A button that copies a text, and says that it did. */
export function copyButton(what, text) {
  const label = `Copy ${what}`;
  const button = h("button", { type: "button", class: "quiet" }, label);
  button.addEventListener("click", async () => {
    const done = await copy(text());
    button.textContent = done ? "Copied" : "Press Ctrl-C";
    const shown = button.closest("dd")?.querySelector("code");
    if (!done && shown) getSelection().selectAllChildren(shown);
    setTimeout(() => (button.textContent = label), 2000);
  });
  return h("span", { "aria-live": "polite" }, button);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Only pages that came over TLS, or from this machine, may use the clipboard. The old way works everywhere.
    const area = h("textarea", { class: "offscreen", "aria-hidden": "true" });
    area.value = text;
    const focused = document.activeElement;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return done;
  }
}

/** The little of Markdown that descriptions of plugins have: paragraphs, tables, `code` and **bold**. */
export function markdown(text) {
  const blocks = text.trim().split(/\n\s*\n/).filter(Boolean);
  return blocks.map((block) => (block.startsWith("|") ? table(block) : h("p", null, inline(block))));
}

/** Text in which `code` and **bold** are so. */
export function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`") && part.length > 2) return h("code", null, part.slice(1, -1));
    if (part.startsWith("**") && part.length > 4) return h("strong", null, part.slice(2, -2));
    return part;
  });
}

function table(block) {
  const cells = (line) => line.replace(/^\||\|\s*$/g, "").split("|").map((cell) => inline(cell.trim()));
  const [head, ...rows] = block.split("\n").filter((line) => !/^[|\s:-]+$/.test(line));
  const heading = h("tr", null, cells(head).map((cell) => h("th", { scope: "col" }, cell)));
  const body = rows.map((row) => h("tr", null, cells(row).map((cell) => h("td", null, cell))));
  return scrolling("a table of the description", h("table", null, h("thead", null, heading), h("tbody", null, body)));
}

/** A box in which something wide scrolls by itself, with the keyboard, too. */
export function scrolling(name, ...children) {
  return h("div", { class: "scrolling", tabindex: "0", role: "region", "aria-label": name }, children);
}
