"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const { pairs, tensors, after } = data;
  const count = data.models.length;

  // Elements are made one by one and names are only ever text, so that no name can be markup.
  const make = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const draw = (tag, attributes = {}, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  // Names break after their dots.
  const dotted = (name) => name.split(/(?<=\.)/).flatMap((part) => [part, make("wbr")]);
  const brief = (name) => (name.length > 60 ? `${name.slice(0, 40)}…${name.slice(-15)}` : name);
  const known = (value) => typeof value === "number";
  const shown = (value) => {
    if (!known(value)) return "–";
    const size = Math.abs(value);
    if (value !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(2);
    return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 1 ? value.toFixed(2) : value.toFixed(3);
  };
  const mean = (values) => {
    const all = values.filter(known);
    return all.length ? all.reduce((sum, value) => sum + value, 0) / all.length : null;
  };
  const together = (norms) => (norms.every(known) ? Math.hypot(...norms) : null);
  const angle = (cosine) => (known(cosine) ? `${Math.round((Math.acos(Math.min(1, Math.max(-1, cosine))) * 180) / Math.PI)}°` : "–");

  const models = data.models.map(brief);
  const ROWS = 400;

  // ---- theme
  const themes = ["system", "light", "dark"];
  const button = byId("theme");
  let theme = 0;
  button.addEventListener("click", () => {
    theme = (theme + 1) % themes.length;
    if (theme) document.documentElement.dataset.theme = themes[theme];
    else delete document.documentElement.dataset.theme;
    button.textContent = `Theme: ${themes[theme]}`;
  });

  // ---- files
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    const text = String(value);
    // A spreadsheet would run a name that begins like a formula.
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const save = (name, rows) => {
    const text = rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
    const link = make("a", { download: `${name}.csv`, href: URL.createObjectURL(new Blob([text], { type: "text/csv" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const tables = {};
  // A table that no data are kept of is saved as it stands, names in full, without its bars.
  const standing = (table) => {
    const text = (one) => {
      const copy = one.cloneNode(true);
      for (const line of copy.querySelectorAll("br")) line.replaceWith(" ");
      const words = one.title || copy.textContent.trim();
      return words === "–" ? null : /^\d{1,3}(,\d{3})+$/.test(words) ? words.replaceAll(",", "") : words;
    };
    const bars = new Set([...table.tHead.rows[0].cells].flatMap((one, place) => (place && !one.textContent.trim() ? [place] : [])));
    return [...table.rows].map((row) => [...row.cells].filter((_, place) => !bars.has(place)).map(text));
  };
  for (const one of document.querySelectorAll("[data-csv]"))
    one.addEventListener("click", () => save(one.dataset.csv, one.dataset.of ? standing(byId(one.dataset.of)) : tables[one.dataset.csv]()));
  tables.models = () => [
    ["model", "norm", "relative_norm", "base_alignment", "effective_rank", "share_held", "alignment", "consistency"],
    ...data.totals.map((row, index) => [data.models[index], ...row]),
  ];
  for (const [name, rows] of Object.entries(data.sheets)) tables[name] = () => rows;
  for (const one of document.querySelectorAll("td[data-v]")) one.style.setProperty("--v", one.dataset.v);
  if (!tensors.length) return;

  // ---- figures: what can be shown of a tensor, and over what range
  const perModel = (key) => (tensor, of) => (of === null ? mean(tensor[key] ?? []) : tensor[key]?.[of]);
  const perPair = (key) => (tensor, of) => (of === null ? mean(tensor[key] ?? []) : tensor[key]?.[of]);
  const single = (key) => (tensor) => tensor[key];
  const FIGURES = {
    interference: { name: "Interference", per: "pair", value: (t, of) => (of === null ? t.interference : t.pair_interference?.[of]), about: "Singular task interference over the strength of the updates: 0 where the directions of different models are orthogonal." },
    conflict: { name: "Sign conflicts", per: "pair", value: (t, of) => (of === null ? t.outvoted : t.conflict?.[of]), most: 0.5, about: "Share of the updates' magnitude that the other models outvote: 0 where all signs agree, 0.5 at most." },
    cosine: { name: "Cosine", per: "pair", value: perPair("cosine"), about: "Cosine of the task vectors: 0 for unrelated updates, 1 for the same one, below 0 where they move against each other." },
    overlap_left: { name: "Overlap of output directions", per: "pair", value: perPair("overlap_left"), most: 1, about: "Mean squared cosine of the principal angles between the output directions: 1 where the models write into the same subspace." },
    overlap_right: { name: "Overlap of input directions", per: "pair", value: perPair("overlap_right"), most: 1, about: "The same of the input directions: 1 where the models react to the same inputs." },
    moved: { name: "Moved, over the base", per: "model", value: (t, of) => { const norm = of === null ? together(t.norm) : t.norm[of]; return t.base && known(norm) ? norm / t.base : null; }, about: "Norm of the update over the norm of the base's tensor." },
    effective_rank: { name: "Effective rank", per: "model", value: perModel("effective_rank"), about: "In how many directions the update moves." },
    stable_rank: { name: "Stable rank", per: "model", value: perModel("stable_rank"), about: "Squared norm over that of the strongest direction: near 1 where one direction dominates." },
  };
  if (after) Object.assign(FIGURES, {
    share_held: { name: "Held in the merge", per: "model", value: perModel("share_held"), about: "How much of a model's update the merged one holds along it: 1 where it is whole, 0 where it is lost." },
    alignment: { name: "Alignment with the merge", per: "model", value: perModel("alignment"), most: 1, about: "Subspace alignment ratio: share of the update's norm inside the merged matrix's main subspace." },
    consistency: { name: "Directional consistency", per: "model", value: perModel("consistency"), most: 1, about: "Cosine of each direction of a model with its best match in the merged matrix, weighted by strength." },
    accumulated: { name: "Over-accumulation", per: "none", value: single("accumulated"), about: "How often the merged matrix counts what its models share: above 1, more than they ask for." },
    deviation: { name: "Distance from a simplex", per: "none", value: single("deviation"), about: "Delta_ETF: how far the models' directions in the merged matrix are from a simplex." },
    residual: { name: "Outside the frame", per: "none", value: single("residual"), most: 1, about: "Share of the merged matrix outside the span of the frame of all models' directions." },
  });
  if (count < 2) for (const [key, figure] of Object.entries(FIGURES)) if (figure.per === "pair") delete FIGURES[key];
  for (const [key, figure] of Object.entries(FIGURES)) if (!tensors.some((tensor) => known(figure.value(tensor, null)))) delete FIGURES[key];
  const pairName = (place) => `${models[pairs[place][0]]}, ${models[pairs[place][1]]}`;
  const rangeOf = (figure, values) => {
    const sizes = values.filter(known).map(Math.abs);
    return figure.most ?? (sizes.reduce((most, size) => Math.max(most, size), 0) || 1);
  };
  const paint = (target, value, most) => {
    if (!known(value)) return target.classList.add("none");
    target.classList.toggle("below", value < 0);
    target.style.setProperty("--v", Math.min(1, Math.abs(value) / most).toFixed(3));
  };
  const legend = (target, values, most) => {
    const both = values.some((value) => value < 0);
    target.classList.toggle("both", both);
    target.replaceChildren(both ? shown(-most) : "0", make("i"), shown(most));
  };

  // ---- pairs
  if (count > 1) {
    const kinds = { cosine: "cosine", conflict: "conflict", overlap_left: "overlap_left", overlap_right: "overlap_right", interference: "interference" };
    const select = byId("pair-figure");
    for (const key of Object.keys(kinds)) if (data.pair_totals[key].some(known)) select.append(make("option", { value: key }, FIGURES[key].name));
    const table = byId("pair-matrix");
    const show = () => {
      const key = select.value, figure = FIGURES[key], values = data.pair_totals[key], most = rangeOf(figure, values);
      byId("pairs-about").textContent = figure.about;
      table.classList.toggle("many", count > 16);
      const at = new Map(pairs.map(([one, other], place) => [one * count + other, values[place]]));
      const head = make("tr", {}, make("td"), ...models.map((name, index) => make("th", { scope: "col", title: data.models[index] }, name)));
      const body = models.map((name, row) => make("tr", {}, make("th", { scope: "row", title: data.models[row] }, name), ...models.map((other, column) => {
        if (row === column) return make("td", { class: "none" });
        const value = at.get(Math.min(row, column) * count + Math.max(row, column));
        const made = make("td", { title: `${name}, ${other}: ${shown(value)}` }, shown(value));
        paint(made, value, most);
        return made;
      })));
      table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
      legend(byId("pair-legend"), values, most);
    };
    select.addEventListener("change", show);
    show();
    tables.pairs = () => [
      ["one", "other", ...Object.keys(kinds)],
      ...pairs.map(([one, other], place) => [data.models[one], data.models[other], ...Object.keys(kinds).map((key) => data.pair_totals[key][place])]),
    ];
  }

  // ---- layers
  const figureSelect = byId("layer-figure"), ofSelect = byId("layer-of"), filter = byId("filter"), allKinds = byId("all-kinds");
  for (const [key, figure] of Object.entries(FIGURES)) figureSelect.append(make("option", { value: key }, figure.name));
  if (FIGURES.share_held) figureSelect.value = "share_held";
  if (!tensors.some((tensor) => tensor.matrix)) allKinds.checked = true;
  const fillOf = () => {
    const figure = FIGURES[figureSelect.value], kept = ofSelect.value;
    const names = figure.per === "model" ? models : figure.per === "pair" && !data.pairs_left_out ? pairs.map((_, place) => pairName(place)) : [];
    ofSelect.replaceChildren(make("option", { value: "" }, figure.per === "model" ? "all models" : "all models together"), ...names.map((name, place) => make("option", { value: `${place}` }, name)));
    if (Number(kept) < names.length) ofSelect.value = kept;
    byId("layer-of-label").hidden = !names.length;
  };
  const readout = byId("readout"), heat = byId("heat"), detail = byId("detail");
  let cells = [], chosen = null;
  const wanted = (tensor) => {
    const words = filter.value.trim().toLowerCase();
    return (allKinds.checked || tensor.matrix) && (!words || tensor.name.toLowerCase().includes(words));
  };
  const groupsOf = () => {
    const towers = new Map();
    for (const tensor of tensors) {
      if (!wanted(tensor)) continue;
      const tower = data.towers[tensor.tower];
      if (!towers.has(tower)) towers.set(tower, { layers: new Set(), modules: new Map() });
      const group = towers.get(tower), layer = tensor.layer ?? 0;
      group.layers.add(layer);
      if (!group.modules.has(tensor.module)) group.modules.set(tensor.module, new Map());
      const row = group.modules.get(tensor.module);
      if (!row.has(layer)) row.set(layer, []);
      row.get(layer).push(tensor);
    }
    return towers;
  };
  const showLayers = () => {
    const figure = FIGURES[figureSelect.value], of = ofSelect.value === "" ? null : Number(ofSelect.value);
    byId("layers-about").textContent = figure.about;
    const towers = groupsOf(), values = [];
    for (const { modules } of towers.values()) for (const row of modules.values()) for (const own of row.values()) values.push(mean(own.map((tensor) => figure.value(tensor, of))));
    const most = rangeOf(figure, values);
    cells = [];
    const grids = [...towers].map(([tower, { layers, modules }]) => {
      const numbers = [...layers].sort((a, b) => a - b);
      const outside = tower === "";
      const title = outside ? "Outside the layers" : towers.size > 1 ? tower : "Every layer";
      const step = numbers.length > 40 ? 5 : 1;
      const head = make("tr", {}, make("td"), ...numbers.map((number, place) => make("th", { scope: "col" }, outside || place % step ? "" : `${number}`)));
      const body = [...modules].map(([module, row]) => {
        const line = [];
        const made = numbers.map((number) => {
          const own = row.get(number);
          if (!own) return make("td", { class: "none" });
          const value = mean(own.map((tensor) => figure.value(tensor, of)));
          const words = `${outside ? "" : `layer ${number}, `}${module}${own.length > 1 ? `, mean of ${own.length}` : ""}: ${shown(value)}`;
          const one = make("td", { role: "gridcell", tabindex: "-1", "aria-label": words });
          one.own = own;
          one.words = words;
          if (own[0] === chosen) one.setAttribute("aria-selected", "true");
          paint(one, value, most);
          line.push(one);
          return one;
        });
        cells.push(line);
        return make("tr", {}, make("th", { scope: "row", title: module }, ...dotted(brief(module))), ...made);
      });
      const table = make("table", { class: "heat", role: "grid", "aria-label": `${figure.name}: ${title}` }, make("caption", {}, title), make("thead", {}, head), make("tbody", {}, ...body));
      return make("div", { class: "scroll" }, table);
    });
    heat.replaceChildren(...(grids.length ? grids : [make("p", {}, "No name fits.")]));
    if (cells.length && cells[0].length) cells[0][0].tabIndex = 0;
    legend(byId("layer-legend"), values, most);
    showTensors();
  };
  const cellOf = (event) => (event.target.own ? event.target : null);
  heat.addEventListener("pointerover", (event) => { const one = cellOf(event); if (one) readout.textContent = one.words; });
  heat.addEventListener("focusin", (event) => { const one = cellOf(event); if (one) readout.textContent = one.words; });
  const choose = (one) => {
    for (const other of heat.querySelectorAll("[aria-selected]")) other.removeAttribute("aria-selected");
    one.setAttribute("aria-selected", "true");
    showDetail(one.own);
    byId("chosen").textContent = `${one.own[0].name} is shown below`;
  };
  heat.addEventListener("click", (event) => { const one = cellOf(event); if (one) choose(one); });
  heat.addEventListener("keydown", (event) => {
    const one = cellOf(event);
    if (!one) return;
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); return choose(one); }
    const row = cells.findIndex((line) => line.includes(one)), place = cells[row].indexOf(one);
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    const line = cells[Math.min(cells.length - 1, Math.max(0, row + down))];
    const next = line[Math.min(line.length - 1, Math.max(0, place + right))];
    one.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  tables.layers = () => {
    const figure = FIGURES[figureSelect.value], of = ofSelect.value === "" ? null : Number(ofSelect.value);
    return [["tensor", "layer", "module", figureSelect.value], ...tensors.filter(wanted).map((tensor) => [tensor.name, tensor.layer, tensor.module, figure.value(tensor, of)])];
  };

  // ---- one tensor
  // Lines differ by colour and by dash, four colours apart; of very many no eye can tell one from another.
  const dashes = ["", "7 3", "2 3"], many = count > 16;
  const styleOf = (index) => (many ? { class: "line c0 faint" } : { class: `line c${index % 8}`, "stroke-dasharray": dashes[Math.floor(index / 4) % 3] });
  const spectrum = (tensor) => {
    const [width, height, left, top] = [360, 190, 34, 8], ranks = tensor.energy_ranks, last = Math.log2(ranks[ranks.length - 1]) || 1;
    const x = (rank) => left + (Math.log2(rank) / last) * (width - left - 8), y = (share) => top + (1 - share) * (height - top - 34);
    const root = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "spectrum", role: "img", "aria-label": "Share of the squared norm in the leading directions, by their number" });
    for (const share of [0, 0.5, 1]) {
      root.append(draw("line", { class: "grid", x1: left, x2: width - 8, y1: y(share), y2: y(share) }));
      root.append(draw("text", { x: left - 6, y: y(share) + 4, "text-anchor": "end" }, `${share * 100}`));
    }
    ranks.forEach((rank, place) => {
      const near = place < ranks.length - 1 && x(ranks[ranks.length - 1]) - x(rank) < 24;
      if (!near) root.append(draw("text", { x: x(rank), y: height - 18, "text-anchor": "middle" }, `${rank}`));
    });
    root.append(draw("text", { x: (width + left) / 2, y: height - 2, "text-anchor": "middle" }, "leading directions; % of the squared norm"));
    const lines = tensor.energy_kept.map((kept, index) => [kept, styleOf(index), models[index]]);
    if (tensor.merged_energy?.length) lines.push([tensor.merged_energy, { class: "line merged" }, "merged"]);
    for (const [kept, style] of lines) root.append(draw("polyline", { ...style, points: kept.map((share, place) => `${x(ranks[place]).toFixed(1)},${y(share ?? 0).toFixed(1)}`).join(" ") }));
    const named = many ? [[null, styleOf(0), `${count} models, a line each`], ...lines.slice(count)] : lines;
    const key = make("ul", { class: "key" }, ...named.map(([, style, name]) => make("li", {}, draw("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" }, draw("line", { ...style, x1: 0, x2: 26, y1: 5, y2: 5, "stroke-width": 2.5 })), name)));
    return make("div", {}, root, key);
  };
  const plainTable = (caption, head, rows) => make("div", { class: rows.length > 24 ? "scroll tall" : "scroll", tabindex: "0", role: "region", "aria-label": caption }, make("table", { class: "wide" }, make("caption", {}, rows.length > ROWS ? `${caption}; the first ${ROWS} of ${rows.length}, the CSV has all` : caption),
    make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows.slice(0, ROWS).map(([name, ...figures]) => make("tr", {}, make("th", { scope: "row" }, name), ...figures.map((figure) => make("td", {}, typeof figure === "string" ? figure : shown(figure))))))));
  // One row for each number, as a spreadsheet's pivot table takes it.
  const sheetOf = (tensor) => {
    const rows = [["tensor", "figure", "of", "value"]];
    const add = (figure, of, value) => known(value) && rows.push([tensor.name, figure, of, value]);
    for (const key of ["base", "outvoted", "interference", "accumulated", "deviation", "residual"]) add(key, "", tensor[key]);
    for (const key of ["norm", "effective_rank", "stable_rank", "share_held", "alignment", "consistency"]) data.models.forEach((name, i) => add(key, name, tensor[key]?.[i]));
    for (const key of ["cosine", "conflict", "overlap_left", "overlap_right", "largest_cosine", "pair_interference"]) pairs.forEach(([one, other], i) => add(key, `${data.models[one]}, ${data.models[other]}`, tensor[key]?.[i]));
    (tensor.energy_ranks ?? []).forEach((rank, place) => {
      data.models.forEach((name, i) => add(`energy_kept (rank ${rank})`, name, tensor.energy_kept?.[i]?.[place]));
      add(`energy_kept (rank ${rank})`, "merged", tensor.merged_energy?.[place]);
    });
    return rows;
  };
  const showDetail = (own) => {
    const tensor = own[0];
    chosen = tensor;
    const parts = [make("h3", {}, ...dotted(tensor.name), " ", make("small", {}, `${tensor.shape.join(" × ") || "scalar"}${own.length > 1 ? `; the first of ${own.length}` : ""}`))];
    parts.push(tensor.matrix ? spectrum(tensor) : make("p", {}, "Not a matrix: it has entries, and no spectrum."));
    const columns = [["moved", (i) => tensor.norm[i]], ["of the base, %", (i) => (tensor.base && known(tensor.norm[i]) ? (100 * tensor.norm[i]) / tensor.base : null)]];
    if (tensor.matrix) columns.push(["effective rank", (i) => tensor.effective_rank[i]], ["stable rank", (i) => tensor.stable_rank[i]]);
    if (tensor.share_held) columns.push(["held", (i) => tensor.share_held[i]]);
    if (tensor.alignment?.length) columns.push(["alignment", (i) => tensor.alignment[i]], ["consistency", (i) => tensor.consistency[i]]);
    const right = [plainTable("Models in this tensor", ["model", ...columns.map(([name]) => name)], models.map((name, index) => [name, ...columns.map(([, value]) => value(index))]))];
    if (known(tensor.deviation) || known(tensor.accumulated)) right.push(make("p", {}, `Merged: over-accumulation ${shown(tensor.accumulated)}, distance from a simplex ${shown(tensor.deviation)}, outside the frame ${shown(tensor.residual)}.`));
    const few = pairs.length <= 6;
    const folded = (table) => (few ? table : make("details", {}, make("summary", {}, `${pairs.length} pairs`), table));
    if (count > 1 && tensor.cosine) right.push(folded(plainTable("Pairs in this tensor", tensor.matrix ? ["pair", "cosine", "sign conflicts", "overlap, outputs", "overlap, inputs", "smallest angle", "interference"] : ["pair", "cosine", "sign conflicts"],
      pairs.map((_, place) => [pairName(place), tensor.cosine[place], tensor.conflict[place], ...(tensor.matrix ? [tensor.overlap_left[place], tensor.overlap_right[place], angle(tensor.largest_cosine[place]), tensor.pair_interference[place]] : [])]))));
    else if (data.pairs_left_out && count > 1) right.push(make("p", { class: "soft" }, "The figures of its pairs are in inspection.json: here they would make the page too large."));
    const csv = make("button", { type: "button" }, "This tensor as CSV");
    csv.addEventListener("click", () => save("tensor", sheetOf(tensor)));
    right.push(make("div", { class: "controls" }, csv));
    detail.replaceChildren(...parts, make("div", {}, ...right));
  };

  // ---- all tensors
  const columns = [
    ["tensor", (t) => t.name], ["shape", (t) => t.shape.join(" × ")], ["moved", (t) => together(t.norm)], ["of the base, %", (t) => { const share = FIGURES.moved.value(t, null); return known(share) ? 100 * share : null; }],
    ...(count > 1 ? [["outvoted", (t) => t.outvoted], ["interference", (t) => t.interference]] : []),
    ["effective rank", (t) => mean(t.effective_rank ?? [])],
    ...(after ? [["held", (t) => mean(t.share_held ?? [])], ["alignment", (t) => mean(t.alignment ?? [])]] : []),
  ];
  let sorted = null, descending = true;
  const showTensors = () => {
    let rows = tensors.filter(wanted);
    if (sorted !== null) {
      const value = columns[sorted][1], last = descending ? -Infinity : Infinity;
      const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : (a ?? last) - (b ?? last));
      rows = [...rows].sort((a, b) => order(value(a), value(b)) * (descending ? -1 : 1));
    }
    byId("tensors-about").textContent = `${rows.length} of ${tensors.length} tensors, by the filter above${rows.length > ROWS ? `; the first ${ROWS} are listed, the CSV has all` : ""}. A column's name sorts by it.`;
    const head = make("tr", {}, ...columns.map(([name], place) => {
      const sorter = make("button", { type: "button" }, name, sorted === place ? (descending ? " ↓" : " ↑") : "");
      sorter.addEventListener("click", () => {
        descending = sorted === place ? !descending : place > 0;
        sorted = place;
        showTensors();
        byId("tensor-table").querySelectorAll("thead button")[place].focus();
      });
      return make("th", { scope: "col", "aria-sort": sorted === place ? (descending ? "descending" : "ascending") : null }, sorter);
    }));
    const body = rows.slice(0, ROWS).map((tensor) => make("tr", {}, ...columns.map(([, value], place) => {
      const figure = value(tensor);
      return place ? make("td", {}, typeof figure === "string" ? figure : shown(figure)) : make("th", { scope: "row", title: figure }, ...dotted(figure.length > 120 ? brief(figure) : figure));
    })));
    byId("tensor-table").replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
  };
  tables.tensors = () => {
    const each = (key, names) => names.map((name) => `${key} (${name})`);
    const pairNames = data.pairs_left_out ? [] : pairs.map((_, place) => pairName(place));
    const perModelKeys = ["norm", "effective_rank", "stable_rank", ...(after ? ["share_held", "alignment", "consistency"] : [])];
    const perPairKeys = ["cosine", "conflict", "overlap_left", "overlap_right", "pair_interference"];
    const merged = after ? ["accumulated", "deviation", "residual"] : [];
    return [
      ["tensor", "shape", "layer", "module", "base_norm", "outvoted", "interference", ...merged, ...perModelKeys.flatMap((key) => each(key, models)), ...perPairKeys.flatMap((key) => each(key, pairNames))],
      ...tensors.map((t) => [t.name, t.shape.join("x"), t.layer, t.module, t.base, t.outvoted, t.interference, ...merged.map((key) => t[key]), ...perModelKeys.flatMap((key) => models.map((_, i) => t[key]?.[i])), ...perPairKeys.flatMap((key) => pairNames.map((_, i) => t[key]?.[i]))]),
    ];
  };

  figureSelect.addEventListener("change", () => { fillOf(); showLayers(); });
  ofSelect.addEventListener("change", showLayers);
  allKinds.addEventListener("change", showLayers);
  let waiting;
  filter.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(showLayers, 120); });
  fillOf();
  showLayers();
  // One tensor is shown from the start: the one with the largest figure.
  const first = FIGURES[figureSelect.value];
  const largest = cells.flat().reduce((most, one) => ((first?.value(one.own[0], null) ?? -Infinity) > (first?.value(most.own[0], null) ?? -Infinity) ? one : most), cells[0]?.[0]);
  if (largest) choose(largest);
})();
