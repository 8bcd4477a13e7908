// The pictures: operations as bars by thread over a true time axis, faults above and behind them,
// and an overview of the whole run. Knows nothing of the page around its two canvases.

const AXIS = 20, PHASE = 17, TARGET = 16, GAP = 8, FOOT = 4;
const LANES_PX = 460, LANE_MIN = 5, LANE_MAX = 22;
const CROWD = 2000;                               // so many marks are drawn as one, where they are narrow
const SPAN_MIN = 20;                              // microseconds: closer, nothing is to be seen

class View {
  constructor(operations, canvas, overview, onMove) {
    Object.assign(this, { o: operations, canvas, overview, onMove });
    this.context = canvas.getContext("2d");
    this.from = 0; this.to = operations.until;
    this.selected = -1;
    this.lit = null;                              // Uint8Array: what is marked; null for no marks
    this.litRows = [];
    this.targets = targetsOf(operations.bands);
    const room = LANES_PX / Math.max(operations.lanes.length, 1);
    this.laneHeight = Math.min(Math.max(Math.floor(room), LANE_MIN), LANE_MAX);
    this.lanesTop = AXIS + (operations.phases.length ? PHASE : 0) + this.targets.length * TARGET + GAP;
    this.height = this.lanesTop + operations.lanes.length * this.laneHeight + FOOT;
    this.queued = false;
    this.readStyle();
  }

  // -- what is seen ---------------------------------------------------------------------------
  get width() { return this.right - this.side; }
  x(time) { return this.side + (time - this.from) / (this.to - this.from) * this.width; }
  timeAt(px) { return this.from + (px - this.side) / this.width * (this.to - this.from); }

  show(from, to) {
    const { until } = this.o, margin = until * .01;
    const span = Math.min(Math.max(to - from, SPAN_MIN), until + 2 * margin);
    this.from = Math.min(Math.max((from + to) / 2 - span / 2, -margin), until + margin - span);
    this.to = this.from + span;
    this.redraw();
    this.onMove();
  }
  showAll() { this.show(0, this.o.until); }
  zoom(factor, px = this.side + this.width / 2) {
    const time = this.timeAt(px), span = (this.to - this.from) * factor;
    if (factor > 1 || this.to - this.from > SPAN_MIN)
      this.show(time - (time - this.from) * factor, time - (time - this.from) * factor + span);
  }
  pan(share) { const shift = (this.to - this.from) * share; this.show(this.from + shift, this.to + shift); }
  /** Bring an operation into view, close enough to read it. */
  showRow(row) {
    const { start, finish, until } = this.o;
    const span = Math.min(Math.max((finish[row] - start[row]) * 5, until / 2e3, 2e3), until);
    const near = this.to - this.from <= span * 2 && start[row] >= this.from && finish[row] <= this.to;
    const middle = (start[row] + finish[row]) / 2;
    if (!near) this.show(middle - span / 2, middle + span / 2); else this.redraw();
  }
  showRows(rows) {
    const from = Math.min(...rows.map(row => this.o.start[row])), to = Math.max(...rows.map(row => this.o.finish[row]));
    const margin = Math.max((to - from) * .06, 1e3);
    this.show(from - margin, to + margin);
  }
  mark(lit) {
    this.lit = lit;
    this.litRows = [];
    for (let row = 0; row < (lit?.length ?? 0); row++) if (lit[row]) this.litRows.push(row);
    this.redraw();
  }
  select(row) { this.selected = row; this.redraw(); }

  /** The operation under a point, or -1. */
  hit(px, py) {
    const lane = Math.floor((py - this.lanesTop) / this.laneHeight), { o } = this;
    if (lane < 0 || lane >= o.lanes.length || px < this.side) return -1;
    const rows = o.rowsOfLane[lane];
    let best = -1, distance = 5;
    for (let k = o.firstSeen(rows, o.longest[lane], this.timeAt(px - 5)); k < rows.length; k++) {
      const row = rows[k], left = this.x(o.start[row]), right = Math.max(this.x(o.finish[row]), left + 1);
      if (left > px + 5) break;
      // A marked one wins: among thousands under one pixel, it is what the reader points at.
      const away = (px < left ? left - px : px > right ? px - right : 0) - (this.lit?.[row] ? 2 : 0);
      if (away <= distance) { distance = away; best = row; }
    }
    return best;
  }
  /** The fault under a point, or null. */
  hitBand(px, py) {
    const top = this.lanesTop - GAP - this.targets.length * TARGET, target = this.targets[Math.floor((py - top) / TARGET)];
    if (py < top || target === undefined) return null;
    return this.o.bands.find(band => band.target === target && this.x(band.start) - 3 <= px && this.x(band.end) + 3 >= px) ?? null;
  }

  // -- drawing --------------------------------------------------------------------------------
  readStyle() {
    const style = getComputedStyle(document.documentElement), colour = name => style.getPropertyValue("--" + name).trim();
    this.colours = {};
    for (const name of ["ink", "dim", "line", "paper", "panel", "accent", "invalid", ...TYPES]) this.colours[name] = colour(name);
    this.shade = Number(colour("shade"));
    this.font = `11px ${colour("mono")}`;
    this.context.font = this.font;
    const labels = [...this.o.lanes, ...this.targets];
    // Asking an element for its width may lay out the page: once a change, not once a bar.
    this.right = this.canvas.clientWidth;
    this.side = Math.ceil(Math.min(Math.max(...labels.map(each => this.context.measureText(each).width), 40), 130)) + 14;
  }
  redraw() {
    if (this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => this.draw());
  }
  draw() {
    this.queued = false;
    const c = this.context, width = this.right, { colours } = this;
    fit(this.canvas, width, this.height);
    c.fillStyle = colours.paper; c.fillRect(0, 0, width, this.height);
    c.font = this.font; c.textBaseline = "middle"; c.lineWidth = 1;
    this._shades(); this._axis(); this._phases(); this._selection();
    this.o.lanes.forEach((_, lane) => this._lane(lane, width));
    this._targets(width); this._labels();
    this._drawOverview();
  }
  _shades() {
    const c = this.context, { right } = this;
    for (const band of this.o.shades) {
      const left = Math.max(this.x(band.start), this.side), end = Math.min(this.x(band.end), right);
      if (end < this.side || left > right) continue;
      c.globalAlpha = this.shade * .8; c.fillStyle = band.colour;
      c.fillRect(left, this.lanesTop, Math.max(end - left, 1), this.height - this.lanesTop - FOOT);
    }
    c.globalAlpha = 1;
  }
  _axis() {
    const c = this.context, step = stepFor((this.to - this.from) / Math.max(this.width / 100, 1));
    c.strokeStyle = this.colours.line; c.fillStyle = this.colours.dim;
    for (let n = Math.ceil(Math.max(this.from, 0) / step); n * step <= this.to; n++) {
      const px = Math.round(this.x(n * step)) + .5;
      c.beginPath(); c.moveTo(px, AXIS - 4); c.lineTo(px, this.height); c.stroke();
      c.fillText(clock(n * step, step), px + 4, AXIS / 2);
    }
  }
  _phases() {
    const c = this.context;
    for (const phase of this.o.phases) {
      const left = Math.max(this.x(phase.start), this.side), right = Math.min(this.x(phase.end), this.right);
      if (right <= left) continue;
      c.fillStyle = this.colours.panel; c.fillRect(left, AXIS, right - left, PHASE - 3);
      c.fillStyle = this.colours.dim; c.fillRect(left, AXIS, 1, PHASE - 3);
      this._text(phase.name, left + 5, AXIS + (PHASE - 3) / 2, right - left - 8, this.colours.dim);
    }
  }
  _targets(width) {
    const c = this.context, top = this.lanesTop - GAP - this.targets.length * TARGET;
    for (const band of this.o.bands) {
      const y = top + this.targets.indexOf(band.target) * TARGET;
      const left = Math.max(this.x(band.start), this.side), right = Math.min(this.x(band.end), width);
      if (right < this.side || left > width) continue;
      c.fillStyle = band.colour; c.fillRect(left, y + 2, Math.max(right - left, 2), TARGET - 4);
      this._text(band.name, left + 5, y + TARGET / 2, right - left - 8, "#fff");
      if (band.name === "crash" && this.x(band.start) >= this.side) this._crash(this.x(band.start), y);
    }
  }
  _crash(px, y) {
    const c = this.context, middle = y + TARGET / 2;
    c.strokeStyle = this.colours.invalid; c.lineWidth = 1;
    c.setLineDash([3, 3]); c.beginPath(); c.moveTo(px, this.lanesTop); c.lineTo(px, this.height - FOOT); c.stroke(); c.setLineDash([]);
    c.lineWidth = 2.5; c.beginPath();
    for (const sign of [1, -1]) { c.moveTo(px - 5, middle - 5 * sign); c.lineTo(px + 5, middle + 5 * sign); }
    c.stroke(); c.lineWidth = 1;
  }
  _lane(lane, width) {
    const { o, lit, colours, side, from } = this, c = this.context, rows = o.rowsOfLane[lane];
    const { start, finish, type } = o, scale = this.width / (this.to - from), to = this.to;
    const y = this.lanesTop + lane * this.laneHeight, pad = this.laneHeight > 12 ? 3 : 1, height = this.laneHeight - 2 * pad;
    const columns = Math.ceil(width), worst = new Uint8Array(columns + 1), worstLit = new Uint8Array(columns + 1), marked = [];
    const crowded = this.litRows.length > CROWD;
    // Bars of less than a pixel become one bar a pixel, in the colour of the worst of them.
    for (let k = o.firstSeen(rows, o.longest[lane], from); k < rows.length; k++) {
      const row = rows[k];
      if (start[row] > to) break;
      if (finish[row] < from) continue;
      const isLit = lit !== null && lit[row] === 1;
      if (row === this.selected || (isLit && !crowded)) { marked.push(row); continue; }
      const left = Math.max(side + (start[row] - from) * scale, side), right = Math.min(side + (finish[row] - from) * scale, width);
      const narrow = isLit ? worstLit : worst;
      if (right - left >= 1.5) this._bar(row, left, right, y + pad, height, lit && !isLit ? .25 : 1);
      else if (narrow[left | 0] <= type[row]) narrow[left | 0] = type[row] + 1;
    }
    this._columns(worst, y + pad, height, lit ? .25 : 1);
    this._columns(worstLit, y + pad, height, 1);
    for (const row of marked) {
      const left = Math.max(this.x(o.start[row]), this.side), right = Math.max(Math.min(this.x(o.finish[row]), width), left + 3);
      this._bar(row, left, right, y + pad, height, 1);
      if (row !== this.selected && !o.findingsOf(row).length) continue;
      c.strokeStyle = row === this.selected ? colours.accent : colours.invalid; c.lineWidth = 2;
      c.strokeRect(left - 1, y + pad - 1, right - left + 2, height + 2); c.lineWidth = 1;
    }
  }
  /** One bar for each run of pixels that have the same type, which stands in `worst` plus one. */
  _columns(worst, y, height, alpha) {
    const c = this.context;
    c.globalAlpha = alpha;
    for (let px = 0; px < worst.length; px++) {
      if (!worst[px]) continue;
      const first = px;
      while (worst[px + 1] === worst[first]) px++;
      c.fillStyle = this.colours[TYPES[worst[first] - 1]];
      c.fillRect(first, y, px - first + 1, height);
    }
    c.globalAlpha = 1;
  }
  _bar(row, left, right, y, height, alpha) {
    const { o } = this, c = this.context, type = o.type[row], wide = right - left;
    c.globalAlpha = type === 0 ? alpha * .45 : alpha;
    c.fillStyle = this.colours[TYPES[type]];
    c.fillRect(left, y, Math.max(wide - (wide > 4 ? .6 : 0), 1), height);
    c.globalAlpha = alpha;
    if (wide > 40 && height > 9) this._text(o.line(row).slice(0, 200), left + 4, y + height / 2 + .5, wide - 8, this.colours.paper);
    c.globalAlpha = 1;
  }
  _selection() {
    if (this.selected < 0) return;
    const c = this.context, left = Math.max(this.x(this.o.start[this.selected]), this.side), right = this.x(this.o.finish[this.selected]);
    if (right < this.side) return;
    c.globalAlpha = .13; c.fillStyle = this.colours.accent;
    c.fillRect(left, this.lanesTop, Math.max(right - left, 1), this.height - this.lanesTop - FOOT); c.globalAlpha = 1;
  }
  _labels() {
    const c = this.context, top = this.lanesTop - GAP - this.targets.length * TARGET, every = Math.ceil(12 / this.laneHeight);
    c.fillStyle = this.colours.paper; c.fillRect(0, 0, this.side, this.height);
    this.targets.forEach((target, row) => this._text(target, 2, top + row * TARGET + TARGET / 2, this.side - 8, this.colours.dim));
    this.o.lanes.forEach((lane, row) => {
      if (row % every === 0) this._text(lane, 2, this.lanesTop + row * this.laneHeight + this.laneHeight / 2, this.side - 8, this.colours.dim);
    });
  }
  /** Text that ends where its room ends; nothing where not even a few letters fit. */
  _text(text, left, y, room, colour) {
    const c = this.context, fits = Math.floor(room / 6.7);
    if (fits < 2) return;
    c.fillStyle = colour;
    c.fillText(text.length > fits ? text.slice(0, fits - 1) + "…" : text, left, y);
  }

  // -- the whole run --------------------------------------------------------------------------
  overviewTime(px) { return (px - this.side) / Math.max(this.overview.clientWidth - this.side, 1) * this.o.until; }
  _drawOverview() {
    const { o, overview, colours, side } = this, width = overview.clientWidth, height = 44, floor = height - 8;
    const c = overview.getContext("2d"), x = time => side + time / o.until * (width - side);
    fit(overview, width, height);
    c.fillStyle = colours.paper; c.fillRect(0, 0, width, height);
    c.fillStyle = colours.panel; c.fillRect(side, 0, width - side, floor);
    for (const band of o.shades) {
      c.globalAlpha = this.shade; c.fillStyle = band.colour; c.fillRect(x(band.start), 0, Math.max(x(band.end) - x(band.start), 1), floor);
    }
    c.globalAlpha = 1;
    const bins = this._bins(Math.max(Math.floor((width - side) / 3), 1)), most = Math.max(...bins.all, 1);
    for (let bin = 0; bin < bins.all.length; bin++) {
      let y = floor;
      for (const type of [1, 2, 3, 0]) {
        if (!bins[type][bin]) continue;
        const tall = Math.max(bins[type][bin] / most * (floor - 4), 1.5);
        c.fillStyle = colours[TYPES[type]]; c.fillRect(side + bin * 3, y - tall, 2, tall); y -= tall;
      }
    }
    for (const finding of o.findings) if (finding.kind === "forbidden") for (const row of finding.rows) {
      c.fillStyle = colours.invalid; c.fillRect(x(o.start[row]) - 1, floor + 1, 3, 7);
    }
    c.fillStyle = colours.accent;
    for (let k = 0, last = -1; k < this.litRows.length; k++) {
      const px = Math.round(x(o.start[this.litRows[k]]));
      if (px !== last) c.fillRect(last = px, 0, 1.5, 5);
    }
    const left = Math.max(x(this.from), side), right = Math.min(x(this.to), width);
    c.globalAlpha = .55; c.fillStyle = colours.paper;
    c.fillRect(side, 0, left - side, floor); c.fillRect(right, 0, width - right, floor);
    c.globalAlpha = 1; c.strokeStyle = colours.accent; c.lineWidth = 1.5;
    c.strokeRect(Math.min(left, width - 3) + .5, .75, Math.max(right - left - 1, 2), floor - 1.5);
  }
  _bins(count) {
    if (this._cached?.all.length === count) return this._cached;
    const { o } = this, bins = { all: new Uint32Array(count) };
    for (const type of [0, 1, 2, 3]) bins[type] = new Uint32Array(count);
    for (let row = 0; row < o.count; row++) {
      if (o.type[row] > 3) continue;
      const bin = Math.min(Math.floor(o.start[row] / o.until * count), count - 1);
      bins[o.type[row]][bin]++; bins.all[bin]++;
    }
    return this._cached = bins;
  }
}

/** Lanes of what was hit: nodes by name, then links. */
function targetsOf(bands) {
  const names = [...new Set(bands.map(band => band.target))];
  return names.sort((a, b) => (a === "links") - (b === "links") || a.localeCompare(b, "en", { numeric: true }));
}

function fit(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1, w = Math.round(width * ratio), h = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w; canvas.height = h; canvas.style.height = height + "px";
  }
  canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
}

function stepFor(target) {
  const power = 10 ** Math.floor(Math.log10(target));
  return [1, 2, 5, 10].map(m => m * power).find(step => step >= target * .999);
}

/** A time as the axis says it: as many digits as its steps need. */
function clock(time, step = 1) {
  const digits = Math.min(Math.max(Math.ceil(-Math.log10(step / 1e6) - 1e-9), 0), 6);
  return (time / 1e6).toFixed(digits) + " s";
}
