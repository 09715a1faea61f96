"""The Viterbi algorithm: the best path through a graph."""

from collections.abc import Iterable, Sequence

import numpy as np


def viterbi(last: int, edges: Sequence[tuple[int, int]], scores: Iterable[float]) -> list[int]:
    """The edges (by index) of the path with the largest sum from node 0 to node `last`.

    Edges are in topological order: each comes after those that lead to its first node. Of
    sums that rounding made equal, the one whose last term was added to more wins, then the
    earlier edge. [] if there is no path.
    """
    best, came_by = [-np.inf] * (last + 1), [-1] * (last + 1)
    best[0], before = 0.0, list(best)
    for i, ((begin, end), score) in enumerate(zip(edges, scores, strict=True)):
        if (best[begin] + score, best[begin]) > (best[end], before[end]):
            best[end], before[end], came_by[end] = best[begin] + score, best[begin], i
    path, node = [], last
    while node > 0 and came_by[node] >= 0:
        path.append(came_by[node])
        node = edges[came_by[node]][0]
    return path[::-1]
