// SPDX-License-Identifier: GPL-2.0
/*
 * Fair sharing by weighted virtual time.
 *
 * Each task has a virtual time, its CPU time scaled by the weight of its nice
 * value; who is furthest behind runs next. fair_load_add and fair_wake are called
 * when a task becomes runnable, fair_enqueue puts it in the shared or the pinned
 * queue, fair_find and fair_pick take the next one in dispatch, fair_charge adds
 * what was used.
 *
 * Use: every policy that shares CPUs among tasks of different nice values, and as
 * the base that any other class competes with.
 *
 * Needs: scx_fair_core.bpf.h, and fair_init from init; scx_fair_ops.bpf.h has the
 * ops that are always the same.
 *
 * Not for: NUMA or large machines without FAIR_BY_LLC: one queue and one lock.
 */
#include "scx_fair_ops.bpf.h"

char _license[] SEC("license") = "GPL";

void SX_OPS(example_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (t)
		fair_enqueue(p, t, enq_flags);
	else
		sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
}

void SX_OPS(example_dispatch, s32 cpu, struct task_struct *prev)
{
	struct fair_cpu *c = fair_cpu(cpu);
	struct fair_task *t = NULL;
	struct fair_head head;

	if (!c)
		return;
	if (prev && fair_is_queued(prev))
		t = fair_task(prev);
	if (t)
		fair_charge(prev, t);
	fair_find(cpu, c, t ? prev : NULL, t, &head);
	fair_pick(cpu, c, t ? prev : NULL, t, &head);
}

s32 SX_OPS_SLEEPABLE(example_init)
{
	return fair_init();
}
