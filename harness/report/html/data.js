"use strict";
// The run's operations: unpacked from the page, indexed for drawing and for looking up.
// All text in here came from the system under test: it goes into textContent or fillText, never
// into markup.

const TYPES = ["pending", "ok", "fail", "info", "other"];

/** What `harness/report/html/operations.py` packed: base64 of gzip of JSON. */
async function unpack(text) {
  const binary = atob(text.trim()), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** Parallel arrays, a row an operation, ascending by begin. Times are microseconds. */
class Operations {
  constructor(raw) {
    Object.assign(this, raw);
    for (const name of ["index", "end_index", "f", "type", "lane", "node", "key", "key_start"])
      this[name] = Int32Array.from(raw[name]);
    this.count = this.index.length;
    this.until = Math.max(raw.until, 1);
    this.start = Float64Array.from(raw.start);
    // Where its bar ends: what never completed may take effect until the end.
    this.finish = Float64Array.from(raw.end, (end, row) => this.end_index[row] < 0 ? this.until : end);
    this._indexEvents();
    this._indexLanes();
    this._indexFindings();
  }

  /** The row that an event, by its index in the history, belongs to; -1 if the page lacks it. */
  rowOf(event) { return this._row[event] ?? -1; }

  keysOf(row) {
    return Array.from(this.key.subarray(this.key_start[row], this.key_start[row + 1]), code => this.keys[code]);
  }

  /** Findings that speak of the operation. */
  findingsOf(row) { return this._findingsOf.get(row) ?? []; }

  /** One line: what was asked and what came of it. */
  line(row) {
    const returned = this.result[row] && this.result[row] !== this.value[row] ? ` → ${this.result[row]}` : "";
    const error = this.error[row] ? ` ! ${this.error[row]}` : "";
    return `${this.fs[this.f[row]]} ${this.value[row]}${returned}${error}`.trim();
  }

  name(row) {
    return `op ${this.index[row]}${this.end_index[row] >= 0 ? "–" + this.end_index[row] : ""}`;
  }

  /** The first place in `rows` (a lane, or all) whose operation can still be seen at `time`. */
  firstSeen(rows, longest, time) {
    let low = 0, high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.start[rows[middle]] < time - longest) low = middle + 1; else high = middle;
    }
    return low;
  }

  _indexEvents() {
    let last = -1;
    for (let row = 0; row < this.count; row++) last = Math.max(last, this.index[row], this.end_index[row]);
    this._row = new Int32Array(last + 1).fill(-1);
    for (let row = 0; row < this.count; row++) {
      this._row[this.index[row]] = row;
      if (this.end_index[row] >= 0) this._row[this.end_index[row]] = row;
    }
  }

  _indexLanes() {
    const lanes = this.lanes.map(() => []);
    this.longest = this.lanes.map(() => 0);
    for (let row = 0; row < this.count; row++) {
      const lane = this.lane[row];
      lanes[lane].push(row);
      this.longest[lane] = Math.max(this.longest[lane], this.finish[row] - this.start[row]);
    }
    this.rowsOfLane = lanes.map(rows => Int32Array.from(rows));
  }

  _indexFindings() {
    this._findingsOf = new Map();
    for (const finding of this.findings) {
      finding.rows = [...new Set(finding.events.map(event => this.rowOf(event)))].filter(row => row >= 0).sort((a, b) => a - b);
      for (const row of finding.rows) this._findingsOf.set(row, [...this.findingsOf(row), finding]);
    }
  }
}
