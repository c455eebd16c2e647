// What is wrong with the page as it is shown now, for people who cannot see it, cannot point, or see little contrast.
// The body of a function; gives a list of complaints.

const complaints = [];
const isShown = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest(".offscreen, .skip");
const all = (selector) => [...document.querySelectorAll(selector)].filter(isShown);
const name = (element) => `<${element.tagName.toLowerCase()}${element.id ? ` id=${element.id}` : ""}> ${element.textContent.trim().slice(0, 40)}`;
const byIds = (ids) => (ids ?? "").split(/\s+/).filter(Boolean).map((id) => document.getElementById(id)?.textContent.trim() ?? "").join(" ");

/** What a screen reader calls it. */
const called = (element) =>
  byIds(element.getAttribute("aria-labelledby")) || element.getAttribute("aria-label") || [...(element.labels ?? [])].map((label) => label.textContent).join(" ").trim() || (element.matches("a, button, summary") ? element.textContent.trim() : "");

// Names.
if (!document.documentElement.lang) complaints.push("the page has no language");
if (!document.title) complaints.push("the page has no title");
for (const element of all("input, select, textarea, button, a, summary")) if (!called(element)) complaints.push(`without a name: ${element.outerHTML.slice(0, 120)}`);
for (const image of all("img, svg, canvas")) {
  const isNamed = image.hasAttribute("alt") || image.closest("[role=img][aria-label], [aria-hidden=true]");
  if (!isNamed) complaints.push(`a picture without words: ${image.outerHTML.slice(0, 120)}`);
}
for (const region of all("section, nav, form, [role=region], [role=group]")) if (!called(region)) complaints.push(`a part without a name: ${region.outerHTML.slice(0, 120)}`);

// Ids, and what refers to them.
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) complaints.push(`the id ${id} is there twice`);
for (const attribute of ["for", "aria-labelledby", "aria-describedby", "list"]) {
  for (const element of document.querySelectorAll(`[${attribute}]`)) {
    for (const id of element.getAttribute(attribute).split(/\s+/)) if (!document.getElementById(id)) complaints.push(`${attribute}=${id} leads nowhere`);
  }
}

// Structure.
const headings = all("h1, h2, h3, h4, h5, h6").map((heading) => Number(heading.tagName[1]));
if (headings.filter((level) => level === 1).length !== 1) complaints.push(`${headings.filter((level) => level === 1).length} h1`);
headings.forEach((level, at) => level > (headings[at - 1] ?? 0) + 1 && complaints.push(`h${level} follows h${headings[at - 1] ?? 0}`));
for (const landmark of ["header", "nav", "main", "footer"]) if (all(landmark).length < 1) complaints.push(`no ${landmark}`);
if (all("main").length !== 1) complaints.push("not one main");
for (const table of all("table")) {
  if (!table.caption && !table.closest("[role=region][aria-label]")) complaints.push("a table without a caption");
  for (const th of table.querySelectorAll("th")) if (!th.scope) complaints.push(`a heading of a table without a scope: ${name(th)}`);
}
for (const box of all("*")) {
  const isScrolled = box.scrollWidth > box.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(box).overflowX);
  if (isScrolled && box !== document.documentElement && box.tabIndex < 0) complaints.push(`scrolls, but not with the keyboard: ${name(box)}`);
}

// Contrast, as WCAG 2.2 counts it: 4.5, or 3 for large text.
const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (colour) => {
  paint.clearRect(0, 0, 1, 1);
  paint.fillStyle = colour;
  paint.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = paint.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};
const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
const behind = (element) => {
  const own = element ? rgba(getComputedStyle(element).backgroundColor) : rgba("Canvas");
  return own[3] === 1 || !element ? own : over(own, behind(element.parentElement));
};
const light = (colour) => {
  const [r, g, b] = colour.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
for (const element of all("body *")) {
  const hasText = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  if (!(hasText || element.matches("input, select")) || element.matches("option, optgroup, :disabled")) continue;
  const style = getComputedStyle(element);
  const back = behind(element);
  const found = ratio(over(rgba(style.color), back), back);
  const size = parseFloat(style.fontSize);
  const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
  if (found < least) complaints.push(`contrast ${found.toFixed(2)}, not ${least}: ${name(element)}`);
}
for (const element of all("input:not([type=checkbox]), select")) {
  const style = getComputedStyle(element);
  const found = ratio(rgba(style.borderTopColor), behind(element.parentElement));
  if (found < 3) complaints.push(`the frame of ${name(element)} has a contrast of ${found.toFixed(2)}, not 3`);
}

// Room: the page itself never scrolls sideways, and what is pressed is large enough.
if (document.documentElement.scrollWidth > window.innerWidth) {
  const wide = all("body *").filter((element) => element.getBoundingClientRect().right > window.innerWidth + 1).slice(0, 3);
  complaints.push(`the page is ${document.documentElement.scrollWidth} wide, the window ${window.innerWidth}: ${wide.map(name).join("; ")}`);
}
for (const element of all("button, select, input, summary")) {
  const box = (element.closest("label") ?? element).getBoundingClientRect();
  if (box.height < 20 || box.width < 20) complaints.push(`${name(element)} is only ${box.width.toFixed()} x ${box.height.toFixed()}`);
}
return complaints;
