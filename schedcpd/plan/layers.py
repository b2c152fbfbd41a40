# SPDX-License-Identifier: GPL-2.0-or-later
"""Which class a workload gets in a policy that has classes, by the work that it does.

Weight and slice are left to the policy: nothing that was measured says better.
"""

from __future__ import annotations

from collections.abc import Mapping

from schedcpd.model import (
    Card,
    LayerClass,
    LayerKind,
    MapRole,
    WorkloadClass,
    WorkloadProfile,
)
from schedcpd.plan.rules import uneven

_KINDS: Mapping[WorkloadClass, LayerKind] = {
    WorkloadClass.BUILD: LayerKind.BATCH,
    WorkloadClass.BATCH: LayerKind.BATCH,
    WorkloadClass.LATENCY: LayerKind.LATENCY,
    WorkloadClass.INTERACTIVE: LayerKind.LATENCY,
    WorkloadClass.FRAMES: LayerKind.LATENCY,
    WorkloadClass.BACKGROUND: LayerKind.BACKGROUND,
}


def layer_for(work: WorkloadClass, card: Card, profile: WorkloadProfile) -> LayerClass | None:
    """The class for work of that kind in the policy of ``card``; None when there is none."""
    kind = _KINDS.get(work)
    if kind is None:
        return None
    hinted = work is WorkloadClass.BATCH and card.live_map(MapRole.HINTS)
    return LayerClass(LayerKind.LONGEST if hinted and uneven(profile) else kind)
