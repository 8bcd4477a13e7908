"""The least of the points that lie beyond a corner: how deadlines follow from what came later.

Cost: n log² n, as a sort for each bit of a point's place.
Source: Bentley, "Multidimensional Divide-and-Conquer", CACM 1980.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from checkers.linearizable.values import Ints

NOTHING = np.int64(2**62)
"""Where no point lies beyond."""


@dataclass(frozen=True, slots=True)
class Points:
    """Attributes:
    across, along: where they lie. least: of which the least is looked for.
    """

    across: Ints
    along: Ints
    least: Ints

    def __len__(self) -> int:
        return len(self.across)

    def with_(self, more: Points) -> Points:
        """These and others."""
        return Points(
            np.append(self.across, more.across),
            np.append(self.along, more.along),
            np.append(self.least, more.least),
        )


def least_beyond(points: Points, across: Ints, along: Ints) -> Ints:
    """For each corner, the least of the points that lie further across, and as far along or
    further; NOTHING if there is none."""
    found = np.full(len(across), NOTHING, np.int64)
    if not len(points) or not len(found):
        return found
    # By place: a point that is further across than a corner has a higher one, any other a lower.
    place, corner = _places(points.across, across)
    stride = int(max(points.along.max(), along.max())) + 1
    by_along = np.argsort(points.along, kind="stable")
    highest = int(max(place.max(), corner.max()))
    for level in range(highest.bit_length()):
        right = by_along[(place[by_along] >> level) & 1 == 1]
        left = np.flatnonzero((corner >> level) & 1 == 0)
        if not len(right) or not len(left):
            continue
        block = place[right] >> (level + 1)
        right = right[np.argsort(block, kind="stable")]
        block = place[right] >> (level + 1)
        beside = corner[left] >> (level + 1)
        at = np.searchsorted(block * stride + points.along[right], beside * stride + along[left])
        suffix = _suffix_least(block, points.least[right])
        inside = at < len(right)
        inside[inside] = block[at[inside]] == beside[inside]
        np.minimum.at(found, left[inside], suffix[at[inside]])
    return found


def _places(points: Ints, corners: Ints) -> tuple[Ints, Ints]:
    """Numbers that order all of them; a point that equals a corner comes before it."""
    both = np.concatenate([points, corners])
    kind = np.repeat([0, 1], [len(points), len(corners)])
    place = np.empty(len(both), np.int64)
    place[np.lexsort((kind, both))] = np.arange(len(both))
    return place[: len(points)], place[len(points) :]


def _suffix_least(block: Ints, values: Ints) -> Ints:
    """The least from each place to the end of its block; blocks ascend."""
    # Each block lies below the ones after it, so that nothing of these is less.
    height = int(values.max()) + 1
    raised = values + block * height
    return np.minimum.accumulate(raised[::-1])[::-1] - block * height
