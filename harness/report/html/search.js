// Search: every term of the query must hold. All values stand in one long string, so that a term
// is one pass of the engine's own `indexOf`, whatever the number of operations.
//
//   17            the index of an event, or the number 17 in a value
//   key=3         an operation on key 3;   also f=  type=  process=  node=  thread=  index=
//   value=17      17 in a value and no other index;   error=timeout  text of an error
//   anything      text of a value, an error or the operation's name;  "with spaces" in quotes
//   !type=ok      what does not hold

class Haystack {
  /** @param pieces one text a row; compared without case */
  constructor(pieces) {
    const low = pieces.map(piece => piece.toLowerCase());
    this.start = new Int32Array(low.length + 1);
    for (let row = 0; row < low.length; row++) this.start[row + 1] = this.start[row] + low[row].length + 1;
    this.text = low.join("\n");
  }

  /** Call `hit(row)` for every row that holds the needle; as a whole number if `whole`. */
  each(needle, whole, hit) {
    const { text, start } = this, size = needle.length;
    let row = 0;
    for (let at = text.indexOf(needle); at >= 0;) {
      if (whole && (PART_OF_NUMBER.test(text[at - 1] ?? "") || PART_OF_WORD.test(text[at + size] ?? ""))) {
        at = text.indexOf(needle, at + 1);
        continue;
      }
      while (start[row + 1] <= at) row++;
      hit(row);
      at = text.indexOf(needle, start[row + 1]);
    }
  }
}

const PART_OF_NUMBER = /[\w.\-]/, PART_OF_WORD = /[\w.]/;
const TERM = /(!?)(?:(key|f|type|process|node|thread|index|op|value|error)=)?(?:"([^"]*)"(?=\s|$)|(\S+))/g;

class Search {
  constructor(operations) {
    const o = this.operations = operations, rows = Array.from(o.index.keys());
    this.values = new Haystack(rows.map(row => `${o.value[row]}\t${o.result[row]}`));
    this.errors = new Haystack(o.error);
  }

  /** Uint8Array with 1 for every row that the query holds for; null for an empty query. */
  find(query) {
    const terms = [...query.matchAll(TERM)];
    if (!terms.length) return null;
    const found = new Uint8Array(this.operations.count).fill(1);
    for (const [, not, name, quoted, word] of terms) {
      const hits = this._term(name, quoted ?? word, quoted !== undefined);
      for (let row = 0; row < found.length; row++) found[row] &= hits[row] ^ (not ? 1 : 0);
    }
    return found;
  }

  _term(name, text, quoted) {
    const o = this.operations, hits = new Uint8Array(o.count), low = text.toLowerCase();
    const hit = row => { hits[row] = 1; };
    const number = !quoted && /^-?\d+$/.test(text);
    const where = holds => { for (let row = 0; row < o.count; row++) if (holds(row)) hits[row] = 1; };
    const code = table => table.findIndex(each => each.toLowerCase() === low);
    switch (name) {
      case "key": {
        const wanted = o.keys.indexOf(text);
        if (wanted < 0) break;
        for (let row = 0, at = 0; row < o.count; row++)
          for (; at < o.key_start[row + 1]; at++) if (o.key[at] === wanted) hits[row] = 1;
        break;
      }
      case "f": { const f = code(o.fs); where(row => o.f[row] === f); break; }
      case "type": { const type = code(TYPES); where(row => o.type[row] === type); break; }
      case "node": { const node = code(o.nodes); where(row => node >= 0 && o.node[row] === node); break; }
      case "thread": { const lane = o.lanes.indexOf("thread " + text); where(row => o.lane[row] === lane); break; }
      case "process": where(row => String(o.process[row]) === text); break;
      case "index": case "op": this._index(text, hit); break;
      case "value": this.values.each(low, number, hit); break;
      case "error": this.errors.each(low, false, hit); break;
      default:
        this.values.each(low, number, hit);
        if (number) { this._index(text, hit); break; }
        this.errors.each(low, false, hit);
        const named = o.fs.map(f => f.toLowerCase().includes(low));
        where(row => named[o.f[row]]);
    }
    return hits;
  }

  _index(text, hit) {
    const row = this.operations.rowOf(Number(text));
    if (row >= 0) hit(row);
  }
}
