// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=runnable
/*
 * Fills up the slice of the running task at every tick. Bad: the slice never ends,
 * although no insert ever gave an infinite one.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

void SX_OPS(tickfill_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(tickfill_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

void SX_OPS(tickfill_tick, struct task_struct *p)
{
	sx_set_slice(p, SLICE_NS);
}

s32 SX_OPS_SLEEPABLE(tickfill_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(tickfill_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops tickfill_ops = {
	.enqueue = (void *)tickfill_enqueue,
	.dispatch = (void *)tickfill_dispatch,
	.tick = (void *)tickfill_tick,
	.init = (void *)tickfill_init,
	.exit = (void *)tickfill_exit,
	.timeout_ms = 5000,
	.name = "scx_tickfill",
};
