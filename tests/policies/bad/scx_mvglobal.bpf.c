// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX107
/*
 * Takes tasks from the built-in global queue itself. Bad: only queues that the policy
 * created can be moved from; the call ends the policy (kind 1024).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(mvglobal_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(mvglobal_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SX_DSQ_GLOBAL);
}

void SX_OPS(mvglobal_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops mvglobal_ops = {
	.enqueue = (void *)mvglobal_enqueue,
	.dispatch = (void *)mvglobal_dispatch,
	.exit = (void *)mvglobal_exit,
	.timeout_ms = 5000,
	.name = "scx_mvglobal",
};
