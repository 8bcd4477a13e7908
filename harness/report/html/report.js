// The timeline: operations as bars by thread over a true time axis, faults as bands behind them.
// All text from the run goes through textContent or fillText, never into markup.
"use strict";
requestAnimationFrame(() => setTimeout(() => {
  const D = JSON.parse(document.getElementById("data").textContent);
  const canvas = document.getElementById("canvas"), ctx = canvas.getContext("2d");
  const TYPES = ["pending", "ok", "fail", "info"];
  const LANE = 18, HEAD = 22, SIDE = 92, FOOT = 6;
  const count = D.count, until = Math.max(D.until, 1);
  const find = new Map(Object.entries(D.findings).map(([i, names]) => [Number(i), names]));
  const marked = new Map();                       // operation → anomalies that speak of it
  for (let i = 0; i < count; i++) {
    const names = [...(find.get(D.index[i]) || []), ...(find.get(D.end_index[i]) || [])];
    if (names.length) marked.set(i, [...new Set(names)]);
  }
  const lanes = D.lanes.map(() => []);            // operations of each lane, by start
  const longest = D.lanes.map(() => 0);           // its longest bar: how far left a visible one may begin
  const endOf = i => D.type[i] === 1 || D.type[i] === 2 || D.end_index[i] >= 0 ? D.end[i] : until;
  for (let i = 0; i < count; i++) {
    const lane = D.lane[i];
    lanes[lane].push(i);
    longest[lane] = Math.max(longest[lane], endOf(i) - D.start[i]);
  }
  let colours = {}, from = 0, to = until, selected = -1, matches = [], isMatch = null, at = -1, queued = false;

  function readColours() {
    const css = getComputedStyle(document.documentElement);
    for (const name of ["ok", "fail", "info", "pending", "ink", "dim", "line", "paper", "panel", "accent", "invalid"])
      colours[name] = css.getPropertyValue("--" + name).trim();
  }
  const width = () => canvas.clientWidth - SIDE;
  const x = t => SIDE + (t - from) / (to - from) * width();
  const timeAt = px => from + (px - SIDE) / width() * (to - from);

  function redraw() {
    if (!queued) { queued = true; requestAnimationFrame(draw); }
  }
  function draw() {
    queued = false;
    const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = HEAD + lanes.length * LANE + FOOT;
    if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
      canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio); canvas.style.height = h + "px";
    }
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.fillStyle = colours.paper; ctx.fillRect(0, 0, w, h);
    ctx.font = "11px ui-monospace, 'DejaVu Sans Mono', monospace"; ctx.textBaseline = "middle";
    drawBands(h); drawAxis(h);
    lanes.forEach(drawLane);
  }
  function drawBands(h) {
    for (const band of D.bands) {
      const left = Math.max(x(band.start / 1e3), SIDE), right = x(band.end / 1e3);
      if (right < SIDE || left > canvas.clientWidth) continue;
      ctx.globalAlpha = .16; ctx.fillStyle = band.colour;
      ctx.fillRect(left, HEAD, Math.max(right - left, 1), h - HEAD - FOOT);
      ctx.globalAlpha = 1;
      if (right - left > 60) {
        ctx.save(); ctx.beginPath(); ctx.rect(left, 0, right - left, HEAD); ctx.clip();
        ctx.fillText(band.name + " " + band.value, left + 3, HEAD - 5); ctx.restore();
      }
    }
  }
  function drawAxis(h) {
    const target = (to - from) / Math.max(width() / 110, 1), power = 10 ** Math.floor(Math.log10(target));
    const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= target);
    ctx.strokeStyle = colours.line; ctx.fillStyle = colours.dim;
    for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
      const px = x(t);
      ctx.beginPath(); ctx.moveTo(px, HEAD); ctx.lineTo(px, h); ctx.stroke();
      ctx.fillText(label(t, step), px + 3, 7);
    }
  }
  function label(t, step) {
    const s = t / 1e6;
    return step >= 1e6 ? s.toFixed(0) + " s" : step >= 1e3 ? s.toFixed(3) + " s" : s.toFixed(6) + " s";
  }
  function firstVisible(lane) {
    const ops = lanes[lane], edge = from - longest[lane];
    let low = 0, high = ops.length;
    while (low < high) { const mid = (low + high) >> 1; D.start[ops[mid]] < edge ? low = mid + 1 : high = mid; }
    return low;
  }
  function drawLane(ops, lane) {
    const y = HEAD + lane * LANE;
    let lastPx = -1, lastType = -1;
    for (let k = firstVisible(lane); k < ops.length; k++) {
      const i = ops[k];
      if (D.start[i] > to) break;
      const end = endOf(i);
      if (end < from) continue;
      const left = Math.max(x(D.start[i]), SIDE), right = Math.min(x(end), canvas.clientWidth);
      const type = D.type[i], wide = Math.max(right - left, 1), special = marked.has(i) || i === selected || (isMatch && isMatch[i]);
      const px = Math.round(left);
      if (!special && wide <= 1.5 && px === lastPx && type === lastType) continue;   // one bar a pixel is enough
      lastPx = px; lastType = type;
      ctx.globalAlpha = isMatch && !isMatch[i] ? .22 : type === 3 && D.end_index[i] < 0 ? .5 : 1;
      ctx.fillStyle = colours[TYPES[type]];
      ctx.fillRect(left, y + 3, wide, LANE - 6);
      ctx.globalAlpha = 1;
      if (marked.has(i)) { ctx.strokeStyle = colours.invalid; ctx.lineWidth = 2; ctx.strokeRect(left - 1, y + 2, wide + 2, LANE - 4); ctx.lineWidth = 1; }
      if (i === selected) { ctx.strokeStyle = colours.ink; ctx.lineWidth = 2; ctx.strokeRect(left - 2, y + 1, wide + 4, LANE - 2); ctx.lineWidth = 1; }
      if (wide > 46) {
        ctx.save(); ctx.beginPath(); ctx.rect(left, y, wide, LANE); ctx.clip(); ctx.fillStyle = colours.paper;
        ctx.fillText(D.fs[D.f[i]] + " " + (D.result[i] || D.value[i]).slice(0, 120), left + 3, y + LANE / 2); ctx.restore();
      }
    }
    ctx.fillStyle = colours.paper; ctx.fillRect(0, y, SIDE, LANE);
    ctx.fillStyle = colours.dim; ctx.fillText(D.lanes[lane], 4, y + LANE / 2);
  }

  // -- detail ---------------------------------------------------------------------------------
  const el = (tag, text, attributes) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [k, v] of Object.entries(attributes || {})) made.setAttribute(k, v);
    return made;
  };
  function select(i, move) {
    selected = i;
    const box = document.getElementById("detail");
    box.replaceChildren();
    if (i < 0) return redraw();
    const span = (endOf(i) - D.start[i]) / 1e3;
    const type = TYPES[D.type[i]];
    box.append(el("h3", `op ${D.index[i]}${D.end_index[i] >= 0 ? "–" + D.end_index[i] : ""}  ${D.fs[D.f[i]]}  ${type}`));
    const rows = [["process", D.process[i]], ["node", D.node[i] >= 0 ? D.nodes[D.node[i]] : ""],
      ["from", (D.start[i] / 1e6).toFixed(6) + " s"],
      ["to", D.end_index[i] >= 0 ? `${(D.end[i] / 1e6).toFixed(6)} s, after ${span.toFixed(3)} ms` : "never completed"],
      ["invoked", D.value[i]], ["returned", D.result[i]], ["error", D.error[i]]];
    const table = el("table");
    for (const [name, value] of rows) {
      if (value === "") continue;
      const row = el("tr"); row.append(el("th", name), el("td", String(value))); table.append(row);
    }
    box.append(table);
    for (const name of marked.get(i) || []) {
      const p = el("p", "in a finding: "); p.append(el("a", name, { href: "#anomaly-" + name })); box.append(p);
    }
    if (move) show(i);
    redraw();
  }
  function show(i) {
    const middle = (D.start[i] + endOf(i)) / 2;
    const span = Math.min(Math.max((endOf(i) - D.start[i]) * 6, 5e4), to - from);
    view(middle - span / 2, middle + span / 2);
  }
  function view(a, b) {
    const span = Math.min(Math.max(b - a, 50), until * 1.02);
    from = Math.min(Math.max(a, -until * .01), until * 1.01 - span); to = from + span;
    redraw();
  }
  function zoom(factor, px) {
    const t = timeAt(px);
    view(t - (t - from) * factor, t + (to - t) * factor);
  }

  // -- search ---------------------------------------------------------------------------------
  const text = i => D.fs[D.f[i]] + " " + D.value[i] + " " + D.result[i] + " " + D.error[i];
  function keyIn(i, key) {
    const word = new RegExp(`(?:"(?:send|r|w|append)",|\\{|,)"?${key}"?[,:]`);
    return word.test(D.value[i]) || word.test(D.result[i]);
  }
  function predicate(query) {
    const all = query.split(/\s+/).map(term => {
      const [, name, value] = /^(key|process|f|type|node|index)=(.+)$/.exec(term) || [];
      if (name === "key" && /^\w+$/.test(value)) return i => keyIn(i, value);
      if (name === "process") return i => String(D.process[i]) === value;
      if (name === "f") return i => D.fs[D.f[i]] === value;
      if (name === "type") return i => TYPES[D.type[i]] === value;
      if (name === "node") return i => D.node[i] >= 0 && D.nodes[D.node[i]] === value;
      if (name === "index" || /^\d+$/.test(term)) {
        const index = Number(value || term), word = new RegExp(`(?<![\\d.])${value || term}(?![\\d.])`);
        return i => D.index[i] === index || D.end_index[i] === index || (!value && (word.test(D.value[i]) || word.test(D.result[i])));
      }
      const low = term.toLowerCase();
      return i => text(i).toLowerCase().includes(low);
    });
    return i => all.every(p => p(i));
  }
  function search(query) {
    const output = document.getElementById("matches");
    matches = []; isMatch = null; at = -1;
    if (query.trim()) {
      const holds = predicate(query.trim());
      isMatch = new Uint8Array(count);
      for (let i = 0; i < count; i++) if (holds(i)) { matches.push(i); isMatch[i] = 1; }
      const exact = /^\d+$/.test(query.trim()) ? matches.findIndex(i => D.index[i] === +query || D.end_index[i] === +query) : -1;
      if (matches.length) step(exact >= 0 ? exact : 0); else output.textContent = "no match";
    } else output.textContent = "";
    redraw();
  }
  function step(to_) {
    if (!matches.length) return;
    at = (to_ + matches.length) % matches.length;
    document.getElementById("matches").textContent = `${at + 1} of ${matches.length}`;
    select(matches[at], true);
  }

  // -- hands ----------------------------------------------------------------------------------
  function hit(px, py) {
    const lane = Math.floor((py - HEAD) / LANE);
    if (lane < 0 || lane >= lanes.length || px < SIDE) return -1;
    let best = -1, distance = 4;
    const ops = lanes[lane];
    for (let k = firstVisible(lane); k < ops.length && D.start[ops[k]] <= timeAt(px + 4); k++) {
      const left = x(D.start[ops[k]]), right = Math.max(x(endOf(ops[k])), left + 1);
      const off = px < left ? left - px : px > right ? px - right : 0;
      if (off <= distance) { distance = off; best = ops[k]; }
    }
    return best;
  }
  let dragged = null;
  canvas.addEventListener("wheel", e => { e.preventDefault(); zoom(e.deltaY > 0 ? 1.25 : .8, e.offsetX); }, { passive: false });
  canvas.addEventListener("pointerdown", e => { dragged = { px: e.offsetX, from, to, moved: false }; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointermove", e => {
    if (!dragged) { const i = hit(e.offsetX, e.offsetY); canvas.title = i < 0 ? "" : `op ${D.index[i]} ${text(i).slice(0, 300)}`; return; }
    const shift = (dragged.px - e.offsetX) / width() * (dragged.to - dragged.from);
    if (Math.abs(dragged.px - e.offsetX) > 3) dragged.moved = true;
    if (dragged.moved) view(dragged.from + shift, dragged.to + shift);
  });
  canvas.addEventListener("pointerup", e => { if (dragged && !dragged.moved) select(hit(e.offsetX, e.offsetY)); dragged = null; });
  canvas.addEventListener("keydown", e => {
    const quarter = (to - from) / 4, middle = SIDE + width() / 2;
    const act = { ArrowLeft: () => view(from - quarter, to - quarter), ArrowRight: () => view(from + quarter, to + quarter),
      "+": () => zoom(.7, middle), "=": () => zoom(.7, middle), "-": () => zoom(1.4, middle), 0: () => view(0, until),
      n: () => step(at + 1), p: () => step(at - 1) }[e.key];
    if (act) { e.preventDefault(); act(); }
  });
  document.getElementById("search").addEventListener("submit", e => { e.preventDefault(); step(at + 1); });
  document.getElementById("query").addEventListener("keydown", e => { if (e.key === "Enter" && e.shiftKey) { e.preventDefault(); step(at - 1); } });
  let typing = 0;
  document.getElementById("query").addEventListener("input", e => { clearTimeout(typing); typing = setTimeout(() => search(e.target.value), 60); });
  document.getElementById("previous").addEventListener("click", () => step(at - 1));
  document.getElementById("all").addEventListener("click", () => view(0, until));
  function follow() {
    const named = /^#op-(\d+)$/.exec(location.hash);
    if (!named) return;
    const index = Number(named[1]);
    for (let i = 0; i < count; i++) if (D.index[i] === index || D.end_index[i] === index) {
      select(i, true); document.getElementById("timeline").scrollIntoView(); return;
    }
  }
  addEventListener("hashchange", follow);
  addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); redraw(); });

  const legend = document.getElementById("legend");
  legend.append(`${count} operations in ${(until / 1e6).toFixed(1)} s.`);
  TYPES.forEach(type => { const mark = el("i"); mark.style.background = `var(--${type})`; legend.append(mark, type); });
  readColours(); draw(); follow();
  window.assay = { search, view, select, ready: true, matches: () => matches.length };
}, 0));
