// SPDX-License-Identifier: GPL-2.0
/*
 * Classes of cgroups that change while the policy runs.
 *
 * A hash map from cgroup id to class (fair, batch, longest, latency, background),
 * weight and slice, which user space writes at any time without loading anything
 * again. class_refresh looks the class of a task up again after CLASS_STALE_NS,
 * and at once when the task is in another cgroup: neither a move nor a write calls
 * the policy.
 *
 * Use: a host policy for many workloads that come and go.
 *
 * Needs: scx_classes.bpf.h, a call before each decision that depends on the class,
 * and the role classes in the card's [maps].
 *
 * Not for: what must hold at the very moment of the change: it takes effect some
 * milliseconds later.
 */
#include "scx_classes.bpf.h"

char _license[] SEC("license") = "GPL";

void SX_OPS(example_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (t)
		class_refresh(t, (u64)BPF_CORE_READ(p, cgroups, dfl_cgrp), sx_now());
	sx_insert(p, SX_DSQ_GLOBAL, t && t->slice_ns ? t->slice_ns : slice_ns, enq_flags);
}
