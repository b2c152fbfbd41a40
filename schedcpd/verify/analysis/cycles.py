# SPDX-License-Identifier: GPL-2.0-or-later
"""The loops in a function's own code, and how they nest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

NESTING = 16

Graph = Mapping[int, list[int]]
Counted = Callable[[frozenset[int]], frozenset[int]]


@dataclass(frozen=True, slots=True)
class Cycle:
    """Places that can be reached from one another; ``own`` are those in no inner cycle."""

    nodes: frozenset[int]
    own: frozenset[int]


def cycles(graph: Graph, counted: Counted, depth: int = NESTING) -> list[Cycle]:
    """All loops, inner ones as well; what nests deeper than ``depth`` is taken for one loop.

    A loop with several ways back looks like several in each other. Where ``counted`` names places
    that are passed so and so often in all, the loop is opened there, and only what goes round
    without passing them is an inner loop.
    """
    found: list[Cycle] = []
    for component in _components(graph):
        if len(component) == 1 and next(iter(component)) not in graph[next(iter(component))]:
            continue
        inner: list[Cycle] = []
        if depth and len(component) > 1:
            heads = counted(component) or {_entry(graph, component)}
            inside = {
                node: [one for one in graph[node] if one in component and one not in heads]
                for node in component
            }
            inner = cycles(inside, counted, depth - 1)
        nested = frozenset().union(*(one.nodes for one in inner))
        found += [Cycle(component, component - nested), *inner]
    return found


def _entry(graph: Graph, component: frozenset[int]) -> int:
    """Where the loop is entered."""
    entries = {
        one
        for node, following in graph.items()
        if node not in component
        for one in following
        if one in component
    }
    return min(entries or component)


def _components(graph: Graph) -> list[frozenset[int]]:
    """Strongly connected components, by Tarjan's algorithm without recursion."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    waiting: set[int] = set()
    found = []
    for root in graph:
        if root in index:
            continue
        work = [(root, 0)]
        while work:
            node, at = work.pop()
            if at == 0:
                index[node] = low[node] = len(index)
                stack.append(node)
                waiting.add(node)
            following = graph[node]
            if at:
                low[node] = min(low[node], low[following[at - 1]])
            while at < len(following):
                one = following[at]
                at += 1
                if one not in index:
                    work += [(node, at), (one, 0)]
                    break
                if one in waiting:
                    low[node] = min(low[node], index[one])
            else:
                if low[node] == index[node]:
                    found.append(_pop_until(stack, waiting, node))
    return found


def _pop_until(stack: list[int], waiting: set[int], node: int) -> frozenset[int]:
    component = set()
    while True:
        one = stack.pop()
        waiting.discard(one)
        component.add(one)
        if one == node:
            return frozenset(component)
