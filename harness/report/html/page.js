// The page's hands: search, links, keys, pointer; what is said about an operation or a finding.

document.documentElement.classList.add("scripted");

const $ = id => document.getElementById(id);

function el(tag, text, attributes = {}, ...children) {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

class Page {
  constructor(operations) {
    this.o = operations;
    this.view = new View(operations, $("canvas"), $("overview"), () => { $("tip").hidden = true; });
    this.marks = [];                              // rows that n and p step through
    this.at = -1;
    this._legend();
    this._searching(); this._pointing(); this._overview(); this._keys(); this._links();
    this.view.draw();
    this.follow();
  }

  get search() { return this._search ??= new Search(this.o); }

  // -- marks ----------------------------------------------------------------------------------
  /** Mark what the query holds for and go to the first of it. */
  find(query) {
    this._find(query);
    this.answered = query;
  }
  _find(query) {
    const found = query.trim() ? this.search.find(query.trim()) : null;
    this._mark(found);
    this._here(null);
    if (!found) { $("matches").textContent = ""; return; }
    if (!this.marks.length) { $("matches").textContent = this._nothing(query.trim()); return; }
    const exact = /^\d+$/.test(query.trim()) ? this.marks.indexOf(this.o.rowOf(Number(query))) : -1;
    this.step(Math.max(exact, 0));
  }
  _nothing(query) {
    const { o } = this;
    return o.count < o.total && /^\d+$/.test(query) ? "not in this page: see history.jsonl" : "no match";
  }
  /** Mark the operations of a finding, all in view. */
  showFinding(id) {
    const finding = this.o.findings.find(each => each.id === id);
    if (!finding || !finding.rows.length) return;
    const lit = new Uint8Array(this.o.count);
    for (const row of finding.rows) lit[row] = 1;
    $("query").value = "";
    this._mark(lit);
    this.view.select(-1);
    this.view.showRows(finding.rows);
    this._here(finding);
    $("matches").textContent = `${finding.rows.length} operations of the finding`;
    $("timeline").scrollIntoView();
    this._sayFinding(finding);
  }
  _mark(lit) {
    this.view.mark(lit);
    this.marks = this.view.litRows;
    this.at = -1;
  }
  _here(finding) {
    this.finding = finding;
    for (const each of document.querySelectorAll(".finding.here")) each.classList.remove("here");
    if (finding) $(finding.id)?.classList.add("here");
  }
  step(to) {
    if (!this.marks.length) return;
    this.at = (to + this.marks.length) % this.marks.length;
    $("matches").textContent = `${(this.at + 1).toLocaleString("en")} of ${this.marks.length.toLocaleString("en")}`;
    this.select(this.marks[this.at], true);
  }
  /** Select an operation, or nothing (-1), and say what it is. */
  select(row, move = false) {
    this.view.select(row);
    if (row < 0) { if (this.finding) this._sayFinding(this.finding); else $("detail").replaceChildren(); return; }
    if (move) this.view.showRow(row);
    this._say(row);
  }
  /** The operation before or after the selected one, on its thread. */
  neighbour(step) {
    const { o, view } = this;
    if (view.selected < 0) return;
    const rows = o.rowsOfLane[o.lane[view.selected]], next = rows[rows.indexOf(view.selected) + step];
    if (next !== undefined) this.select(next, true);
  }
  letGo() {
    $("query").value = ""; $("matches").textContent = "";
    this._mark(null); this._here(null); this.select(-1);
  }

  // -- words ----------------------------------------------------------------------------------
  _say(row) {
    const { o } = this, type = o.type[row], ended = o.end_index[row] >= 0;
    const title = el("h3", `${o.name(row)}  ${o.fs[o.f[row]]}  `);
    if (type !== 4) title.append(el("span", TYPES[type], { style: `color:var(--${TYPES[type]})` }));
    const keys = o.keysOf(row);
    const rows = [
      ["process", String(o.process[row])], ["node", o.nodes[o.node[row]] ?? ""],
      ["key", keys.length <= 20 ? keys.join(", ") : `${keys.length} keys`],
      ["from", clock(o.start[row])],
      ["to", ended ? `${clock(o.finish[row])}, after ${((o.finish[row] - o.start[row]) / 1e3).toFixed(3)} ms` : "never completed: it may take effect at any later time"],
      [type === 4 ? "what" : "invoked", o.value[row]], [type === 4 ? "effect" : "returned", o.result[row]], ["error", o.error[row]],
    ];
    const table = el("table", null);
    for (const [name, value] of rows)
      if (value !== "") table.append(el("tr", null, {}, el("th", name, { scope: "row" }), el("td", null, {}, el("div", value, { class: "value" }))));
    const findings = o.findingsOf(row).map(finding =>
      el("p", "Part of a finding: ", {}, el("a", this._claim(finding), { href: "#" + finding.id })));
    $("detail").replaceChildren(title, table, ...findings);
  }
  _sayFinding(finding) {
    const list = el("ul", null);
    for (const row of finding.rows)
      list.append(el("li", null, {}, el("a", this.o.name(row), { href: "#op-" + this.o.index[row], class: "op" }), " " + this.o.line(row).slice(0, 160)));
    $("detail").replaceChildren(
      el("h3", this._claim(finding)), list, el("p", null, {}, el("a", "Back to the finding", { href: "#" + finding.id })));
  }
  _claim(finding) {
    return `${finding.name}: ${$(finding.id)?.querySelector("summary")?.textContent ?? ""}`;
  }
  _legend() {
    const { o } = this, said = [], mark = (colour, text) => el("span", null, {}, el("i", null, { style: "background:" + colour }), text);
    const whole = o.count === o.total ? `${o.total.toLocaleString("en")} operations` :
      `${o.count.toLocaleString("en")} of ${o.total.toLocaleString("en")} operations: every ${Math.ceil(o.total / o.count)}th, and all that findings and faults name`;
    said.push(el("span", `${whole} in ${(o.until / 1e6).toFixed(1)} s`));
    for (const type of ["ok", "fail", "info", "pending"]) if (o.type.includes(TYPES.indexOf(type))) said.push(mark(`var(--${type})`, type));
    for (const [name, colour] of new Map(o.bands.map(band => [band.name, band.colour]))) said.push(mark(colour, name));
    $("legend").replaceChildren(...said);
  }

  // -- hands ----------------------------------------------------------------------------------
  _searching() {
    let typing = 0;
    $("query").addEventListener("input", event => { clearTimeout(typing); typing = setTimeout(() => this.find(event.target.value), 50); });
    $("query").addEventListener("keydown", event => {
      if (event.key === "Enter" && event.shiftKey) { event.preventDefault(); this.step(this.at - 1); }
      if (event.key === "Escape") this.letGo();
    });
    $("search").addEventListener("submit", event => { event.preventDefault(); this.step(this.at + 1); });
    const press = (id, act) => $(id).addEventListener("click", act);
    press("previous", () => this.step(this.at < 0 ? -1 : this.at - 1));
    press("in", () => this.view.zoom(.6)); press("out", () => this.view.zoom(1 / .6)); press("all", () => this.view.showAll());
  }
  _pointing() {
    const canvas = $("canvas"), { view } = this;
    let dragged = null, armed = false;
    // The wheel zooms for a pointer that was moved here, and scrolls the page for one that the page
    // was scrolled under: nobody gets stuck on the way down.
    addEventListener("scroll", () => { armed = false; }, { passive: true });
    canvas.addEventListener("wheel", event => {
      if (!armed && !event.ctrlKey && document.activeElement !== canvas) return;
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) view.pan((event.deltaX || event.deltaY) / view.width);
      else view.zoom(1.0015 ** Math.max(Math.min(event.deltaY, 240), -240), event.offsetX);
    }, { passive: false });
    canvas.addEventListener("pointerdown", event => {
      dragged = { px: event.offsetX, from: view.from, to: view.to, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", event => {
      if (event.movementX || event.movementY) armed = true;
      if (!dragged) return this._tip(event);
      const away = dragged.px - event.offsetX, shift = away / view.width * (dragged.to - dragged.from);
      dragged.moved ||= Math.abs(away) > 3;
      if (dragged.moved) view.show(dragged.from + shift, dragged.to + shift);
    });
    canvas.addEventListener("pointerup", event => {
      if (dragged && !dragged.moved) this.select(view.hit(event.offsetX, event.offsetY));
      dragged = null;
    });
    canvas.addEventListener("pointercancel", () => { dragged = null; });
    canvas.addEventListener("pointerleave", () => { $("tip").hidden = true; });
    canvas.addEventListener("dblclick", event => view.zoom(.25, event.offsetX));
  }
  _tip(event) {
    const tip = $("tip"), { view, o } = this, row = view.hit(event.offsetX, event.offsetY);
    const band = row < 0 ? view.hitBand(event.offsetX, event.offsetY) : null;
    tip.hidden = row < 0 && !band;
    $("canvas").style.cursor = row < 0 ? "" : "pointer";
    if (tip.hidden) return;
    tip.textContent = band ? `${band.about}, for ${((band.end - band.start) / 1e6).toFixed(2)} s` : `${o.name(row)} · ${TYPES[o.type[row]]} · ${o.line(row).slice(0, 240)}`;
    const left = Math.min(event.offsetX + 14, Math.max($("stage").clientWidth - tip.offsetWidth - 4, 0));
    const below = event.offsetY + 18, above = event.offsetY - tip.offsetHeight - 10;
    tip.style.left = left + "px";
    tip.style.top = (below + tip.offsetHeight > view.height && above > 0 ? above : below) + "px";
  }
  _overview() {
    const overview = $("overview"), { view } = this;
    let held = null;
    const go = event => { const half = (view.to - view.from) / 2, time = view.overviewTime(event.offsetX) + held; view.show(time - half, time + half); };
    overview.addEventListener("pointerdown", event => {
      const time = view.overviewTime(event.offsetX), inside = time > view.from && time < view.to;
      held = inside ? (view.from + view.to) / 2 - time : 0;   // grabbed where it was touched
      overview.setPointerCapture(event.pointerId); go(event);
    });
    overview.addEventListener("pointermove", event => { if (held !== null) go(event); });
    for (const end of ["pointerup", "pointercancel"]) overview.addEventListener(end, () => { held = null; });
  }
  _keys() {
    const { view } = this, acts = {
      ArrowLeft: () => view.pan(-.2), ArrowRight: () => view.pan(.2), "+": () => view.zoom(.6), "=": () => view.zoom(.6),
      "-": () => view.zoom(1 / .6), _: () => view.zoom(1 / .6), 0: () => view.showAll(),
      Home: () => view.show(0, view.to - view.from), End: () => view.show(this.o.until - (view.to - view.from), this.o.until),
      n: () => this.step(this.at + 1), p: () => this.step(this.at < 0 ? -1 : this.at - 1),
      "[": () => this.neighbour(-1), "]": () => this.neighbour(1), Escape: () => this.letGo(),
    };
    $("canvas").addEventListener("keydown", event => {
      const act = event.ctrlKey || event.metaKey || event.altKey ? undefined : acts[event.key];
      if (act) { event.preventDefault(); act(); }
    });
    addEventListener("keydown", event => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
      event.preventDefault(); $("query").focus(); $("query").select();
    });
    addEventListener("resize", () => { view.readStyle(); view.redraw(); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { view.readStyle(); view.redraw(); });
    matchMedia("print").addEventListener("change", () => { view.readStyle(); view.draw(); });   // paper is white
  }
  _links() {
    addEventListener("hashchange", () => this.follow());
    document.addEventListener("click", event => {
      const link = event.target.closest("a");
      if (link?.dataset.finding) { event.preventDefault(); this.showFinding(link.dataset.finding); }
      else if (link && link.getAttribute("href") === location.hash) this.follow();   // the same hash again is no change
      const chart = event.target.closest("svg[data-until]");
      if (chart) this._lookAt(chart, event);
    });
  }
  _lookAt(chart, event) {
    const box = chart.getBoundingClientRect(), { until, left, right } = chart.dataset;
    const share = ((event.clientX - box.left) / box.width - left) / (right - left), time = share * until;
    if (share < 0 || share > 1) return;
    this.view.show(time - until / 40, time + until / 40);
    $("timeline").scrollIntoView();
  }
  /** What the address names: an operation is shown in the timeline, a finding opened. */
  follow() {
    const [, kind, number] = /^#(op|finding)-(\d+)$/.exec(location.hash) ?? [];
    if (kind === "finding") {
      const finding = $("finding-" + number);
      if (finding) { finding.open = true; finding.scrollIntoView(); }
    }
    const row = kind === "op" ? this.o.rowOf(Number(number)) : -1;
    if (row >= 0) { this.select(row, true); $("timeline").scrollIntoView(); }
  }
}

for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", async () => {
  const code = button.previousElementSibling;
  getSelection().selectAllChildren(code);         // what a reader without a clipboard needs as well
  try { await navigator.clipboard.writeText(code.textContent); button.textContent = "Copied"; } catch { button.textContent = "Selected"; }
});
addEventListener("beforeprint", () => { for (const each of document.querySelectorAll("details")) each.open = true; });

// The verdict is painted before the operations are unpacked.
requestAnimationFrame(() => setTimeout(async () => {
  try {
    window.assay = new Page(new Operations(await unpack($("data").textContent)));
    $("data").textContent = "";                   // its text is unpacked; let the memory go
    (window.requestIdleCallback ?? setTimeout)(() => window.assay.search);
    document.documentElement.dataset.ready = "yes";
  } catch (error) {
    $("detail").textContent = `The timeline could not be drawn: ${error}. The rest of the page does not need it.`;
    throw error;
  }
}));
