"use strict";
// The page works from the JSON in #data alone. Only "apply" talks to a server, when one serves it.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = data.candidates;
  if (!all.length) return;
  const byId = new Map(all.map((entry) => [entry.id, entry]));
  const $ = (id) => document.getElementById(id);
  const SVG = "http" + "://www.w3.org/2000/svg";
  const axes = {
    user: { label: "output tokens per second for one user (1 / ITL)", better: 1,
      of: (c, p) => 1000 / c.itl_ms[p] },
    ttft: { label: "TTFT, ms", better: -1, of: (c, p) => c.ttft_ms[p] },
    itl: { label: "ITL, ms", better: -1, of: (c, p) => c.itl_ms[p] },
    cost: { label: "cost of a million output tokens",
      better: -1, of: (c) => c.cost_per_million_tokens },
  };
  const limits = [
    { key: "ttft_ms", label: "TTFT", unit: "ms", of: (c, p) => c.ttft_ms[p], log: true },
    { key: "itl_ms", label: "ITL", unit: "ms", of: (c, p) => c.itl_ms[p], log: true },
    { key: "e2e_ms", label: "E2E", unit: "ms", of: (c, p) => c.e2e_ms[p], log: true },
    { key: "gpus", label: "GPUs", unit: "", of: (c) => c.gpus, log: false },
  ];
  const state = { chosen: null, targets: {} };

  function number(value, unit = "") {
    if (value === null || value === undefined) return "unknown";
    const size = Math.abs(value);
    const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
    return value.toLocaleString("en", { maximumFractionDigits: digits }) + (unit ? " " + unit : "");
  }

  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== false) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  function drawn(tag, attributes = {}, text = null) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== null) node.textContent = text;
    return node;
  }

  // --- targets -------------------------------------------------------------------------------

  function rangeOf(limit) {
    const values = all.flatMap((c) => (limit.key === "gpus" ? [c.gpus]
      : ["p50", "p99"].map((p) => limit.of(c, p)))).filter(Number.isFinite);
    const wish = limit.key === "gpus" ? data.gpu_budget : data.sla[limit.key];
    if (wish) values.push(wish);
    const low = Math.min(...values), high = Math.max(...values);
    return limit.log ? [low / 1.5, high * 1.5] : [1, high];
  }

  function addSlider(limit) {
    const [low, high] = rangeOf(limit);
    const wish = limit.key === "gpus" ? data.gpu_budget : data.sla[limit.key];
    const start = wish || high;
    const place = (v) => (limit.log ? (1000 * Math.log(v / low)) / Math.log(high / low) : v);
    const value = (s) => (limit.log ? low * (high / low) ** (s / 1000) : Number(s));
    const range = element("input", { type: "range", min: limit.log ? 0 : low, step: 1,
      max: limit.log ? 1000 : high, "aria-label": `${limit.label} at most` });
    const box = element("input", { type: "number", min: 0, step: "any",
      "aria-label": `${limit.label} at most, ${limit.unit || "count"}` });
    limit.set = (v) => {
      state.targets[limit.key] = v;
      range.value = place(v);
      box.value = limit.log ? Number(v.toPrecision(3)) : Math.round(v);
    };
    range.addEventListener("input", () => { limit.set(value(range.value)); refresh(); });
    box.addEventListener("change", () => {
      if (Number(box.value) > 0) { limit.set(Number(box.value)); refresh(); }
    });
    limit.start = start;
    limit.set(start);
    document.querySelector(".sliders").append(element("label", { class: "slider" },
      element("span", {}, `${limit.label} ≤`), range, box, element("span", {}, limit.unit)));
  }

  function usedLimits() {
    return limits.filter((limit) => limit.set);
  }

  // Share of each target that a candidate uses; the largest one binds.
  function uses(candidate) {
    const p = $("percentile").value;
    return usedLimits().map((limit) => ({
      limit, value: limit.of(candidate, p),
      ratio: limit.of(candidate, p) / state.targets[limit.key],
    }));
  }

  function binding(candidate) {
    return uses(candidate).reduce((worst, use) => (use.ratio > worst.ratio ? use : worst));
  }

  const fits = (candidate) => uses(candidate).every((use) => use.ratio <= 1 + 1e-9);

  function filtered() {
    const backend = $("backend").value, mode = $("mode").value;
    return all.filter((c) => (!backend || c.backend === backend) && (!mode || c.mode === mode) &&
      (!$("front").checked || c.pareto));
  }

  function order(a, b) {
    if (data.has_load && a.gpus !== b.gpus) return a.gpus - b.gpus;
    return b.tokens_per_s_per_gpu - a.tokens_per_s_per_gpu;
  }

  // --- chart ---------------------------------------------------------------------------------

  const BOX = { left: 64, right: 1060, top: 26, bottom: 330, width: 1080, height: 380 };

  function ticks(low, high, count = 5) {
    const raw = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
    const found = [];
    for (let v = Math.ceil(low / step) * step; v <= high; v += step) found.push(v);
    return found;
  }

  function scales(shown) {
    const axis = axes[$("axis").value], p = $("percentile").value;
    const xs = shown.map((c) => axis.of(c, p)), ys = shown.map((c) => c.tokens_per_s_per_gpu);
    const high = [Math.max(...xs) * 1.08, Math.max(...ys) * 1.15];
    return {
      x: (c) => BOX.left + (axis.of(c, p) / high[0]) * (BOX.right - BOX.left),
      y: (c) => BOX.bottom - (c.tokens_per_s_per_gpu / high[1]) * (BOX.bottom - BOX.top),
      high,
    };
  }

  function grid(svg, scale) {
    for (const v of ticks(0, scale.high[0])) {
      const x = BOX.left + (v / scale.high[0]) * (BOX.right - BOX.left);
      svg.append(drawn("line", { x1: x, x2: x, y1: BOX.top, y2: BOX.bottom, stroke: "#e5e7eb" }),
        drawn("text", { x, y: BOX.bottom + 18, "text-anchor": "middle", class: "axis" }, number(v)));
    }
    for (const v of ticks(0, scale.high[1])) {
      const y = BOX.bottom - (v / scale.high[1]) * (BOX.bottom - BOX.top);
      svg.append(drawn("line", { x1: BOX.left, x2: BOX.right, y1: y, y2: y, stroke: "#e5e7eb" }),
        drawn("text", { x: BOX.left - 8, y: y + 4, "text-anchor": "end", class: "axis" }, number(v)));
    }
    svg.append(
      drawn("text", { x: BOX.left, y: 14 }, "output tokens per second and GPU"),
      ...legend(),
      drawn("text", { x: (BOX.left + BOX.right) / 2, y: BOX.bottom + 42, "text-anchor": "middle" },
        axes[$("axis").value].label));
  }

  function legend() {
    const kinds = [["#2563eb", "none", "Pareto set"], ["#94a3b8", "none", "beaten by another"],
      ["none", "#059669", "picked"]];
    return kinds.flatMap(([fill, stroke, text], place) => [
      drawn("circle", { cx: BOX.right - 380 + 135 * place, cy: 10, r: 5, fill, stroke,
        "stroke-width": 2 }),
      drawn("text", { x: BOX.right - 368 + 135 * place, y: 14, class: "axis" }, text)]);
  }

  function chart(shown) {
    const usable = shown.filter((c) => axes[$("axis").value].of(c, $("percentile").value) !== null);
    if (!usable.length) {
      const why = shown.length ? "No prices were given (--prices), so there is no cost to show."
        : "Nothing to draw.";
      $("chart").replaceChildren(element("p", { class: "nodata" }, why));
      return;
    }
    const svg = drawn("svg", { viewBox: `0 0 ${BOX.width} ${BOX.height}`, role: "group",
      "aria-label": "candidates within the targets" });
    const scale = scales(usable);
    grid(svg, scale);
    for (const c of usable) svg.append(point(c, scale));
    $("chart").replaceChildren(svg);
  }

  function point(candidate, scale) {
    const x = scale.x(candidate), y = scale.y(candidate);
    const group = drawn("g", { class: "point", tabindex: 0, role: "button",
      "data-id": candidate.id, "aria-label": candidate.label });
    group.append(drawn("title", {}, candidate.label));
    if (candidate.id === data.picked) {
      group.append(drawn("circle", { cx: x, cy: y, r: 10, fill: "none", stroke: "#059669",
        "stroke-width": 2 }));
    }
    group.append(drawn("circle", { cx: x, cy: y, r: 5,
      fill: candidate.pareto ? "#2563eb" : "#94a3b8",
      stroke: candidate.id === state.chosen ? "#1f2937" : "none", "stroke-width": 2.5 }));
    if (candidate.id === data.picked || candidate.id === state.chosen) {
      const right = x > (BOX.left + BOX.right) / 2;
      const text = (candidate.id === data.picked ? "picked: " : "") + candidate.label;
      group.append(drawn("text", { x: x + (right ? -14 : 14), y: y - 9,
        "text-anchor": right ? "end" : "start" }, text));
    }
    group.addEventListener("click", () => choose(candidate.id));
    group.addEventListener("keydown", (event) => keys(event, candidate.id, "#chart .point"));
    return group;
  }

  function keys(event, id, selector) {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(id);
      return;
    }
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const nodes = [...document.querySelectorAll(selector)];
    const next = nodes[nodes.indexOf(event.currentTarget) + step];
    if (next) next.focus();
  }

  // --- table and panel -----------------------------------------------------------------------

  function rows(shown) {
    const p = $("percentile").value;
    $("rows").tBodies[0].replaceChildren(...shown.map((c) => {
      const worst = binding(c);
      return element("tr", { tabindex: 0, "data-id": c.id,
        class: [c.id === state.chosen && "chosen", c.id === data.picked && "picked"]
          .filter(Boolean).join(" "),
        onclick: () => choose(c.id), onkeydown: (event) => keys(event, c.id, "#rows tbody tr") },
        element("td", {}, c.label),
        element("td", { class: "number" }, String(c.gpus)),
        element("td", { class: "number" }, number(c.tokens_per_s_per_gpu)),
        element("td", { class: "number" }, number(c.ttft_ms[p], "ms")),
        element("td", { class: "number" }, number(c.itl_ms[p], "ms")),
        element("td", { class: "number" }, number(c.cost_per_million_tokens)),
        element("td", {}, `${worst.limit.label} at ${Math.round(worst.ratio * 100)} %`));
    }));
  }

  function table(title, body) {
    return element("div", {}, element("table", { "aria-label": title },
      element("thead", {}, element("tr", {}, element("th", {}, title), element("th", {}))),
      element("tbody", {}, ...body.map(([name, value]) => element("tr", {},
        element("th", { scope: "row" }, name), element("td", {}, value))))));
  }

  function band(value, ratio, unit) {
    if (value === null || value === undefined) return "unknown";
    return `${number(value, unit)} (${number(value * (1 - ratio))} to ${number(value * (1 + ratio))})`;
  }

  function predicted(c) {
    const p = $("percentile").value;
    const lines = [["TTFT", band(c.ttft_ms[p], c.error_ratio, "ms")],
      ["ITL", band(c.itl_ms[p], c.error_ratio, "ms")],
      ["E2E", band(c.e2e_ms[p], c.error_ratio, "ms")],
      ["requests in target", c.attainment_ratio === null ? "unknown"
        : `${number(c.attainment_ratio * 100)} % (targets of the request)`],
      ["tokens/s/GPU", number(c.tokens_per_s_per_gpu)],
      ["cost per million", number(c.cost_per_million_tokens)],
      ["step times", `${c.evidence}, ±${Math.round(c.error_ratio * 100)} % for two thirds of steps`]];
    return table(data.measured ? "measured, mean" : `predicted, ${p}`, lines);
  }

  function planned(c) {
    const worst = binding(c);
    return table("plan", [
      ...c.roles.map((role) => [role.role, `${role.replicas} x ${role.engine}, ${role.gpus} GPUs each`]),
      ["GPUs", `${c.gpus} of ${data.gpu_budget}`],
      ["binding constraint", `${worst.limit.label}: ${number(worst.value, worst.limit.unit)} of ` +
        `${number(state.targets[worst.limit.key], worst.limit.unit)}`],
      ["why", c.reason]]);
  }

  function coloured(text) {
    const pre = element("pre", {});
    for (const line of text.split("\n")) {
      const kind = line.startsWith("+") ? "plus" : line.startsWith("-") ? "minus" : null;
      pre.append(kind ? element("span", { class: kind }, line) : line, "\n");
    }
    return pre;
  }

  function panel() {
    const c = byId.get(state.chosen);
    if (!c) { $("panel").replaceChildren(); return; }
    const same = c.id === data.picked;
    const note = element("p", { role: "status", class: "hint", id: "applied" });
    const address = URL.createObjectURL(new Blob([c.dgd_yaml], { type: "application/yaml" }));
    const buttons = element("div", { class: "buttons" },
      element("a", { href: address, download: `${c.id}.yaml`, id: "export", role: "button" },
        element("button", { type: "button", tabindex: -1 }, "Download the deployment")),
      element("button", { type: "button", onclick: () => copy(c.dgd_yaml, note) }, "Copy"),
      data.live ? element("button", { type: "button", id: "apply", onclick: () => apply(c, note) },
        `Apply to ${data.live.cluster}`) : null);
    $("panel").replaceChildren(element("div", { class: "card" },
      element("h3", {}, c.label + (same ? " (picked)" : "")),
      element("div", { class: "columns" }, planned(c), predicted(c)), buttons, note,
      element("details", { open: !same && c.diff ? "" : null },
        element("summary", {}, same ? "This is the pick" : "Difference to the pick"),
        c.diff ? coloured(c.diff) : element("p", { class: "hint" }, "none")),
      element("details", {}, element("summary", {}, "Deployment as YAML"),
        element("pre", { id: "yaml" }, c.dgd_yaml))));
  }

  async function copy(text, note) {
    try {
      await navigator.clipboard.writeText(text);
      note.textContent = "Copied.";
    } catch (error) {
      note.textContent = `The browser does not allow copying here: ${error.message}`;
    }
  }

  async function apply(candidate, note) {
    note.textContent = "Applying ...";
    try {
      const answer = await fetch("apply", { method: "POST",
        headers: { "content-type": "application/json", "x-selection-token": data.live.token },
        body: JSON.stringify({ id: candidate.id }) });
      const body = await answer.json();
      note.textContent = answer.ok ? body.message : `Not applied: ${body.error}`;
    } catch (error) {
      note.textContent = `Not applied: ${error.message}`;
    }
  }

  function choose(id) {
    state.chosen = id;
    refresh();
    const inRows = document.querySelector(`#rows tr[data-id="${CSS.escape(id)}"]`);
    if (document.activeElement === document.body && inRows) inRows.focus({ preventScroll: true });
  }

  function refresh() {
    const focus = document.activeElement?.dataset?.id;
    const inChart = Boolean(document.activeElement?.closest?.("#chart"));
    const shown = filtered().filter(fits).sort(order);
    if (!shown.some((c) => c.id === state.chosen)) {
      state.chosen = (shown.find((c) => c.id === data.picked) || shown[0])?.id ?? null;
    }
    $("status").textContent = shown.length
      ? `${shown.length} of ${all.length} within the targets; best of them: ${shown[0].label}, ` +
        `${shown[0].gpus} GPUs.`
      : nothing();
    chart(shown);
    rows(shown);
    panel();
    if (focus) {
      const place = inChart ? "#chart .point" : "#rows tr";
      document.querySelector(`${place}[data-id="${CSS.escape(focus)}"]`)?.focus();
    }
  }

  function nothing() {
    const rest = filtered();
    if (!rest.length) return "No candidate passes the filters.";
    const close = rest.reduce((a, b) => (binding(a).ratio <= binding(b).ratio ? a : b));
    const worst = binding(close);
    return `No candidate is within the targets. Closest: ${close.label}, ${worst.limit.label} ` +
      `${number(worst.value, worst.limit.unit)}, ${Math.round((worst.ratio - 1) * 100)} % too much.`;
  }

  // --- start ---------------------------------------------------------------------------------

  for (const limit of limits) {
    const known = all.some((c) => Number.isFinite(limit.of(c, "p50")));
    if (known && (limit.key !== "e2e_ms" || data.sla.e2e_ms)) {
      if (!(data.sla.e2e_ms && ["ttft_ms", "itl_ms"].includes(limit.key))) addSlider(limit);
    }
  }
  for (const backend of [...new Set(all.map((c) => c.backend))].sort()) {
    $("backend").append(element("option", { value: backend }, backend));
  }
  if (data.measured) {
    $("percentile").replaceChildren(element("option", { value: "p50" }, "mean"));
  }
  for (const id of ["percentile", "axis", "backend", "mode", "front"]) {
    $(id).addEventListener("change", refresh);
  }
  $("targets").addEventListener("submit", (event) => event.preventDefault());
  $("reset").addEventListener("click", () => {
    for (const limit of usedLimits()) limit.set(limit.start);
    for (const id of ["backend", "mode"]) $(id).value = "";
    $("percentile").selectedIndex = data.measured ? 0 : 1;
    $("front").checked = false;
    state.chosen = data.picked;
    refresh();
  });
  state.chosen = data.picked;
  $("choose").hidden = false;
  refresh();
})();
