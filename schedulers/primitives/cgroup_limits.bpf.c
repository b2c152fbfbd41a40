// SPDX-License-Identifier: GPL-2.0
/*
 * cpu.max of cgroups, enforced by parking.
 *
 * A cgroup with a quota in cpu.max has so much to spend in each period; who is
 * over the limit is parked in a queue of its own until the bandwidth is refilled,
 * and a timer lets the tasks go on. Nobody is parked when the timer cannot be set,
 * and dispatch takes those who are late.
 *
 * Use: host policies that must enforce the CPU limits of containers, which the
 * kernel does not do for sched_ext.
 *
 * Needs: scx_cgroup_park.bpf.h with scx_cgroups.bpf.h; the policy defines
 * cg_unpark, and cg_spend by way of cg_look sets fair_task.release.
 *
 * Not for: policies without cgroup ops: list cpu.max under ignores in the card
 * instead.
 */
#define FAIR_WEIGHT_SHIFT 10
#define FAIR_WEIGHT_OF(p, t) ((t)->eff)
#define FAIR_LOAD() cg_load()
#include "scx_compat.bpf.h"
static __always_inline u64 cg_load(void);
#include "scx_cgroup_park.bpf.h"

char _license[] SEC("license") = "GPL";

static bool cg_unpark(struct bpf_iter_scx_dsq *it, struct task_struct *p, struct fair_task *t)
{
	if (t)
		cg_unparked(t);
	return sx_dsq_move(it, p, SX_DSQ_GLOBAL, 0);
}

void SX_OPS(example_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);
	u64 now = sx_now();

	if (t) {
		cg_look(t, fair_weight(p), fair_used(p, t), now);
		if (before(now, t->release) && cg_park(p, t, now, enq_flags))
			return;
	}
	sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
}

s32 SX_OPS_SLEEPABLE(example_init)
{
	return fair_init() ?: cg_init_core();
}
