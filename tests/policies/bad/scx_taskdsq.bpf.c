// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX302
/*
 * Creates a queue for each task that is forked. Bad: a fork storm creates queues
 * without end, none of which is ever destroyed.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

void SX_OPS(taskdsq_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(taskdsq_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(taskdsq_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	return scx_bpf_create_dsq(0x100000 + p->pid, -1);
}

s32 SX_OPS_SLEEPABLE(taskdsq_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(taskdsq_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops taskdsq_ops = {
	.enqueue = (void *)taskdsq_enqueue,
	.dispatch = (void *)taskdsq_dispatch,
	.init_task = (void *)taskdsq_init_task,
	.init = (void *)taskdsq_init,
	.exit = (void *)taskdsq_exit,
	.timeout_ms = 5000,
	.name = "scx_taskdsq",
};
