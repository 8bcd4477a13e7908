"""Words for transactions over lists: what each read and appended, and why one comes first."""

from __future__ import annotations

from checkers import txn_words
from checkers.cycles import RW, WR, WW
from checkers.list_append_versions import Versions
from checkers.txn_words import Reason
from harness.op import INFO

Shown = tuple[int, ...]
"""Rows of a read and of an append."""


class Words(txn_words.Words):
    """Words for lists; reads and appends are told by their rows in `Versions`."""

    def __init__(self, v: Versions, *txns: int) -> None:
        super().__init__(v.t, v.index, txns)
        self.v = v

    def read(self, read: int, *appends: int) -> str:
        """What was read; of a long list the part with what these appended, or the end."""
        about = [int(self.v.a_value[append]) for append in appends]
        return self.list(int(self.v.r_mop[read]), about)

    def value(self, append: int) -> str:
        return self.t.value(int(self.v.a_value[append]))

    def of_data(self, source: int, kind: int, target: int) -> Reason:
        return {WW: self._ww, WR: self._wr, RW: self._rw}[kind](source, target)

    def _wr(self, source: int, target: int) -> Reason:
        append, read = _seen(self.v, source, target)
        key = self.t.name(int(self.v.r_key[read]))
        why = (
            f"{self.name(source)} appended {self.value(append)} to {key}, "
            f"and {self.name(target)} saw it: it read {self.read(read, append)}"
        )
        return self._reason(why, (append,), (read,))

    def _rw(self, source: int, target: int) -> Reason:
        read, append = _missed(self.v, source, target)
        key = self.t.name(int(self.v.r_key[read]))
        took, proof = self._took(target)
        why = (
            f"{self.name(source)} read {self.read(read)} of {key}, without the "
            f"{self.value(append)} that {self.name(target)} appended{took}"
        )
        return self._reason(why, (append,), (read, *proof))

    def _ww(self, source: int, target: int) -> Reason:
        v = self.v
        before, append, read = _followed(v, source, target)
        key = self.t.name(int(v.a_key[append]))
        unread = v.version[append] < 0
        why = (
            f"{self.name(source)} appended {self.value(before)} to {key} before "
            f"{self.name(target)} appended {self.value(append)}"
        )
        took, proof = self._took(target) if unread else ("", ())
        reader = self.name(int(v.r_txn[read]))
        if unread:
            why += f"{took}: {reader} read {self.read(read, before)}, not yet with the latter"
        else:
            why += f": {reader} read {self.read(read, before, append)}"
        return self._reason(why, (before, append), (read, *proof))

    def _took(self, txn: int) -> tuple[str, Shown]:
        """Who shows that the transaction took place, where its outcome is unknown: in words, and
        the read."""
        v = self.v
        if v.t.status[txn] != INFO:
            return "", ()
        for append in v.appends_of(txn):
            if v.version[append] >= 0 and v.prefix[v.longest[v.a_key[append]]]:
                read = v.shortest_with(int(v.version[append]))
                what = f"{self.value(append)} of {v.t.name(int(v.a_key[append]))}"
                reader = self.name(int(v.r_txn[read]))
                return f" (it took place: {reader} read {what})", (read,)
        return "", ()

    def _reason(self, why: str, appends: Shown, reads: Shown) -> Reason:
        """Of appends to one key, the earlier one first."""
        v = self.v
        mops = [int(v.a_mop[append]) for append in appends]
        mops += [int(v.r_mop[read]) for read in reads]
        values = tuple(int(v.a_value[append]) for append in appends)
        return Reason(why, int(v.a_key[appends[0]]), values, tuple(mops))


# -- what an edge is made of ---------------------------------------------------------------------


def _seen(v: Versions, source: int, target: int) -> tuple[int, int]:
    """An append of the one, and a read of the other that has it last: wr."""
    for read in v.reads_of(target):
        key = int(v.r_key[read])
        if not (v.prefix[read] and v.usable[key] and v.r_len[read]):
            continue
        at = int(v.last[v.base[key] + v.r_len[read] - 1])
        if at >= v.base[key] and v.writer[at] == source:
            return int(v.v_append[at]), read
    raise AssertionError("a wr edge has a reason")


def _missed(v: Versions, source: int, target: int) -> tuple[int, int]:
    """A read of the one, and the append of the other that it ends before: rw."""
    for read in v.reads_of(source):
        key = int(v.r_key[read])
        if not (v.prefix[read] and v.usable[key]):
            continue
        after = int(v.next[v.base[key] + v.r_len[read]])
        if after < v.base[key + 1]:
            if v.writer[after] == target:
                return read, int(v.v_append[after])
            continue
        mine = [a for a in v.appends_of(target) if v.a_key[a] == key and v.version[a] < 0]
        if mine and target in v.unread.get(key, ()):
            return read, mine[0]
    raise AssertionError("an rw edge has a reason")


def _followed(v: Versions, source: int, target: int) -> tuple[int, int, int]:
    """An append of each, and a read that shows that one comes right after the other: ww."""
    for append in v.appends_of(target):
        key, at = int(v.a_key[append]), int(v.version[append])
        if not v.usable[key] or v.longest[key] < 0:
            continue
        end = int(v.base[key + 1]) if at < 0 else at
        before = int(v.last[end - 1]) if end else -1
        if before >= v.base[key] and v.writer[before] == source:
            read = int(v.longest[key]) if at < 0 else v.shortest_with(at)
            return int(v.v_append[before]), append, read
    raise AssertionError("a ww edge has a reason")
