// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=nice-mix
/*
 * Two queues by weight; the low one is served while no task of the high one wants
 * to run. Bad: under load the tasks of positive nice values never run.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define HIGH_DSQ 1
#define LOW_DSQ 2

static u64 nr_high; /* tasks that are runnable and not low */

static __always_inline bool lowstarve_low(struct task_struct *p)
{
	return p->scx.weight < 100 && !(p->flags & SX_PF_KTHREAD);
}

void SX_OPS(lowstarve_runnable, struct task_struct *p, u64 enq_flags)
{
	if (!lowstarve_low(p))
		__sync_fetch_and_add(&nr_high, 1);
}

void SX_OPS(lowstarve_quiescent, struct task_struct *p, u64 deq_flags)
{
	if (!lowstarve_low(p))
		__sync_fetch_and_add(&nr_high, -1);
}

void SX_OPS(lowstarve_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, lowstarve_low(p) ? LOW_DSQ : HIGH_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(lowstarve_dispatch, s32 cpu, struct task_struct *prev)
{
	if (sx_consume(HIGH_DSQ))
		return;
	if (prev && (prev->scx.flags & SX_TASK_QUEUED) && !lowstarve_low(prev)) {
		sx_set_slice(prev, SLICE_NS);
		return;
	}
	if (!nr_high)
		sx_consume(LOW_DSQ);
}

s32 SX_OPS_SLEEPABLE(lowstarve_init)
{
	s32 err = scx_bpf_create_dsq(HIGH_DSQ, -1);

	return err ?: scx_bpf_create_dsq(LOW_DSQ, -1);
}

void SX_OPS(lowstarve_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops lowstarve_ops = {
	.runnable = (void *)lowstarve_runnable,
	.quiescent = (void *)lowstarve_quiescent,
	.enqueue = (void *)lowstarve_enqueue,
	.dispatch = (void *)lowstarve_dispatch,
	.init = (void *)lowstarve_init,
	.exit = (void *)lowstarve_exit,
	.timeout_ms = 5000,
	.name = "scx_lowstarve",
};
