// What projects take, summed up along their namespaces: a map of areas to drill into, and a table.
"use strict";
{
  const { h, svg, byId, bytes, day, number, plural, pageUrl, note, run, part, table } = Dashboard;
  /**
   * What storage is made of, in the order of the colours; `storage` is all of it, with things that have no
   * member of their own, such as uploads: those are `other`.
   */
  const KINDS = ["repository", "lfs", "artifacts", "packages", "wiki"];
  const ALL = [...KINDS.map((kind, at) => ({ kind, colour: `s${at}` })), { kind: "other", colour: "rest" }];
  const SHOWN = 40;
  /** Parts of parts are shown where there are no more than so many. */
  const INNER = 2000;
  /** Room that a tile's own name and size take. */
  const HEAD = 40;
  const path = new URLSearchParams(location.search).get("path") ?? "";
  const depth = path ? path.split("/").length : 0;

  const questions = () => {
    const sums = { plugin: "storage", metric: "projects", rollup: "sum", path: "project" };
    const below = path ? { where: { project: [path, `${path}/*`] } } : {};
    return {
      whole: { ...sums, ...below, depth: Math.max(depth, 1) },
      parts: { ...sums, ...below, depth: depth + 1, order: "-value.storage" },
      moves: { plugin: "storage", metric: "moves" },
      inner: { ...sums, ...below, depth: depth + 2, order: "-value.storage", limit: INNER },
    };
  };

  /** All bytes of some rows, by kind. */
  const sizesOf = (rows) => {
    const sum = (kind) => rows.reduce((sum, { value }) => sum + (value?.[kind] ?? 0), 0);
    const sizes = Object.fromEntries(["storage", ...KINDS].map((kind) => [kind, sum(kind)]));
    return { ...sizes, other: Math.max(0, sizes.storage - KINDS.reduce((total, kind) => total + sizes[kind], 0)) };
  };

  /** Rows that have bytes, the largest first: name, path, value, how many projects. */
  const itemsOf = ({ rows }, above) => {
    const items = rows.filter(({ project }) => project !== above).map((row) => ({
      path: row.project,
      name: row.project.slice(above ? above.length + 1 : 0),
      sizes: sizesOf([row]),
      size: row.value?.storage ?? 0,
      projects: row.values ?? 1,
    }));
    return items.sort((a, b) => b.size - a.size || (a.name < b.name ? -1 : 1));
  };

  /**
   * Squarified tree map (Bruls, Huizing, van Wijk 2000): items, the largest first, as rectangles whose areas are their
   * sizes. Rows are laid along the shorter side as long as that makes their rectangles squarer.
   */
  const squarify = (all, box) => {
    const items = all.filter(({ size }) => size > 0);
    const total = items.reduce((sum, { size }) => sum + size, 0);
    const unit = (box.width * box.height) / total;
    const [placed, rest] = [[], [...items]];
    let { x, y, width, height } = box;
    while (rest.length) {
      const side = Math.min(width, height);
      const row = [rest.shift()];
      let sum = row[0].size * unit;
      const worst = (row, sum) => Math.max((side ** 2 * row[0].size * unit) / sum ** 2, sum ** 2 / (side ** 2 * row.at(-1).size * unit));
      while (rest.length && worst([...row, rest[0]], sum + rest[0].size * unit) <= worst(row, sum)) {
        sum += rest[0].size * unit;
        row.push(rest.shift());
      }
      const thick = sum / side;
      let along = 0;
      for (const item of row) {
        const long = (item.size * unit) / thick;
        placed.push(width < height ? { item, x: x + along, y, width: long, height: thick } : { item, x, y: y + along, width: thick, height: long });
        along += long;
      }
      if (width < height) [y, height] = [y + thick, height - thick];
      else [x, width] = [x + thick, width - thick];
    }
    return placed;
  };

  const pageOf = (path) => pageUrl("storage.html", path ? { path } : {});
  const words = ({ name, size, projects }) => `${name}: ${bytes(size)}${projects > 1 ? `, ${plural(projects, "project")}` : ""}`;

  const tile = ({ item, x, y, width, height }) => {
    const isRoom = width > 70 && height > HEAD;
    const text = isRoom && [h("strong", null, item.name), h("span", { class: "size" }, bytes(item.size))];
    const inner = width > 110 && height > 2 * HEAD ? squarify(item.inner, { x: 4, y: HEAD, width: width - 10, height: height - HEAD - 6 }) : [];
    const boxes = inner.map(inside);
    return place(h("a", { class: isRoom ? "tile named" : "tile", title: words(item), "aria-label": words(item), href: pageOf(item.path) }, text, boxes), { x, y, width, height });
  };

  const inside = (each) => {
    const isRoom = each.width > 45 && each.height > 18;
    return place(h("div", { class: isRoom ? "inner named" : "inner", title: words(each.item) }, isRoom && each.item.name), each);
  };

  const place = (element, { x, y, width, height }) => {
    Object.assign(element.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
    return element;
  };

  /** The map, as large as there is room; laid out again when that changes. */
  const tree = (items) => {
    const box = h("div", { class: "tree", role: "group", "aria-label": "Tree map; the same as a table is below" });
    Dashboard.fit(box, (width, height) => box.replaceChildren(...squarify(items, { x: 0, y: 0, width, height }).map(tile)));
    return box;
  };

  /** Kinds as one bar, of the width that the largest one has. */
  const kindsBar = (sizes, most) => {
    let from = 0;
    const rects = ALL.map(({ kind, colour }) => {
      const width = (100 * sizes[kind]) / Math.max(1, most);
      from += width;
      return width > 0 && svg("rect", { class: `fill ${colour}`, x: from - width, width, height: 1 });
    });
    return svg("svg", { viewBox: "0 0 100 1", preserveAspectRatio: "none", role: "img", "aria-label": ALL.filter(({ kind }) => sizes[kind]).map(({ kind }) => `${kind} ${bytes(sizes[kind])}`).join(", ") || "nothing" }, rects);
  };

  const legend = (sizes) => h("ul", { class: "legend" }, ALL.map(({ kind, colour }) => h("li", null, h("span", { class: `swatch ${colour}` }), kind, h("span", { class: "value" }, bytes(sizes[kind])))));

  const list = (items) => {
    const most = items[0].size;
    const rows = items.slice(0, SHOWN).map((item) => [
      h("a", { href: pageOf(item.path) }, item.name),
      bytes(item.size),
      number(item.projects),
      kindsBar(item.sizes, most),
    ]);
    const caption = items.length > SHOWN ? `The ${SHOWN} largest of ${number(items.length)}` : "The largest first";
    return table(caption, ["Name", ["Storage", "number"], ["Projects", "number"], ["Kinds", "bar"]], rows);
  };

  /** Where we are, each part of it a link. */
  const crumbs = () => {
    const parts = path ? path.split("/") : [];
    const step = (name, to) => (to === path ? h("strong", null, name) : h("a", { href: pageOf(to) }, name));
    return h("nav", { class: "path", "aria-label": "Namespace" }, step("All", ""), parts.map((name, at) => [h("span", { "aria-hidden": "true" }, "/"), step(name, parts.slice(0, at + 1).join("/"))]));
  };


  /** What is below each item, where all of it is known. */
  const innerOf = (inner, item) => {
    if (!inner.rows || inner.truncated) return [];
    return itemsOf({ rows: inner.rows.filter(({ project }) => project.startsWith(`${item.path}/`)) }, item.path);
  };

  /** Where what is not here any more went, as far as the plugin heard. */
  const moved = ({ rows = [] }) => {
    const [move] = rows.filter((row) => path === row.path || path.startsWith(`${row.path}/`)).sort((a, b) => (a.time < b.time ? 1 : -1));
    if (!move) return `No project is below ${path} now.`;
    const to = move.value.to && move.value.to + path.slice(move.path.length);
    return [`${path} ${to ? "was moved to " : "was deleted"}`, to && h("a", { href: pageOf(to) }, to), ` on ${day(Date.parse(move.time))}.`];
  };

  const draw = ({ whole, parts, inner, moves }) => {
    if (parts.problem || whole.problem) return null;
    if (!whole.rows.length) return [crumbs(), note("", path ? moved(moves) : "No project has said what it takes yet.")];
    const all = sizesOf(whole.rows);
    const projects = whole.rows.reduce((sum, { values }) => sum + (values ?? 1), 0);
    const items = itemsOf(parts, path).map((item) => ({ ...item, inner: innerOf(inner, item) }));
    return [
      crumbs(),
      part(path || "All namespaces",
        h("dl", { class: "figures" }, h("div", null, h("dt", null, "Storage"), h("dd", null, bytes(all.storage))), h("div", null, h("dt", null, "Projects"), h("dd", null, number(projects)))),
        legend(all),
        items.length > 0 && [tree(items), list(items)]),
    ];
  };

  run({ questions, draw, seconds: 30 });
  byId("content").dataset.path = path;
}
