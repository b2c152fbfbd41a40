# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written into the live maps of a policy, byte for byte: the one place that knows.

Keys and values are in the order of bytes of this machine, as a BPF program reads them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from schedcpd.model import LayerClass, LayerKind, MapRole

ENTRIES_AT_ONCE = 4096  # of one update

# enum layer_kind of schedulers/include/scx_classes.bpf.h.
_KINDS: Mapping[LayerKind, int] = MappingProxyType(
    {
        LayerKind.FAIR: 0,
        LayerKind.BATCH: 1,
        LayerKind.LONGEST: 2,
        LayerKind.LATENCY: 3,
        LayerKind.BACKGROUND: 4,
    }
)
_CLASS = struct.Struct("=IIQ")  # struct layer_class: u32 kind, weight; u64 slice_ns
_CGROUP = struct.Struct("=Q")
_TGID = struct.Struct("=I")
_RUNTIME = struct.Struct("=Q")


@dataclass(frozen=True, slots=True)
class Layout:
    """The sizes of the entries of a map, in bytes."""

    key: int
    value: int

    def __str__(self) -> str:
        return f"keys of {self.key} and values of {self.value} bytes"


LAYOUTS: Mapping[MapRole, Layout] = MappingProxyType(
    {
        MapRole.CLASSES: Layout(_CGROUP.size, _CLASS.size),
        MapRole.HINTS: Layout(_TGID.size, _RUNTIME.size),
    }
)


def encode_cgroup(cgroup_id: int) -> bytes:
    """The key of a cgroup in a map of classes; ValueError when it is no u64."""
    return _packed(_CGROUP, cgroup_id)


def encode_class(layer: LayerClass) -> bytes:
    """A class as ``struct layer_class``; ValueError when a parameter is out of bounds."""
    if layer.objection:
        raise ValueError(layer.objection)
    return _packed(_CLASS, _KINDS[layer.kind], layer.weight, layer.slice_us * 1000)


def encode_process(tgid: int) -> bytes:
    """The key of a process in a map of hints; ValueError when it is no u32."""
    return _packed(_TGID, tgid)


def encode_hint(tgid: int, expected_ns: int) -> tuple[bytes, bytes]:
    """The entry of a process that is expected to run so long; ValueError out of bounds."""
    return encode_process(tgid), _packed(_RUNTIME, expected_ns)


def batches(
    updates: Mapping[bytes, bytes], deletions: Iterable[bytes] = ()
) -> Iterator[tuple[dict[bytes, bytes], list[bytes]]]:
    """The same in parts that can be sent at once, the deletions first."""
    changes = [*((key, None) for key in deletions), *updates.items()]
    for start in range(0, len(changes), ENTRIES_AT_ONCE):
        part = changes[start : start + ENTRIES_AT_ONCE]
        written = {key: value for key, value in part if value is not None}
        yield written, [key for key, value in part if value is None]


def _packed(layout: struct.Struct, *values: int) -> bytes:
    try:
        return layout.pack(*values)
    except struct.error as exc:
        raise ValueError(f"{values} cannot be written into a map: {exc}") from exc
