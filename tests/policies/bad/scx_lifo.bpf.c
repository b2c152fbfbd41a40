// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=runnable
/*
 * Last in, first out: the newest task of the queue runs next. Bad: two CPU-bound tasks
 * per CPU are enough for the oldest ones to wait for ever.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define STACK_DSQ 1

void SX_OPS(lifo_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert_vtime(p, STACK_DSQ, SLICE_NS, -sx_now(), enq_flags);
}

void SX_OPS(lifo_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(STACK_DSQ);
}

s32 SX_OPS_SLEEPABLE(lifo_init)
{
	return scx_bpf_create_dsq(STACK_DSQ, -1);
}

void SX_OPS(lifo_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops lifo_ops = {
	.enqueue = (void *)lifo_enqueue,
	.dispatch = (void *)lifo_dispatch,
	.init = (void *)lifo_init,
	.exit = (void *)lifo_exit,
	.timeout_ms = 5000,
	.name = "scx_lifo",
};
