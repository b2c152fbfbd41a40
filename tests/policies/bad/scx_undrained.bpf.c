// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX104
/*
 * Two queues by nice value, but dispatch takes from the first one only. Bad: tasks of
 * low weight are queued and never taken out again.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define HIGH_DSQ 1
#define LOW_DSQ 2

void SX_OPS(undrained_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 dsq = p->scx.weight < 100 ? LOW_DSQ : HIGH_DSQ;

	sx_insert(p, dsq, SLICE_NS, enq_flags);
}

void SX_OPS(undrained_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(HIGH_DSQ);
}

s32 SX_OPS_SLEEPABLE(undrained_init)
{
	s32 err = scx_bpf_create_dsq(HIGH_DSQ, -1);

	return err ?: scx_bpf_create_dsq(LOW_DSQ, -1);
}

void SX_OPS(undrained_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops undrained_ops = {
	.enqueue = (void *)undrained_enqueue,
	.dispatch = (void *)undrained_dispatch,
	.init = (void *)undrained_init,
	.exit = (void *)undrained_exit,
	.timeout_ms = 5000,
	.name = "scx_undrained",
};
