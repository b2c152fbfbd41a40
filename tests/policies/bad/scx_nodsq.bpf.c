// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX103
/*
 * Uses a queue of its own, but has no init that creates it. Bad: the first insert
 * names a queue that does not exist and ends the policy (kind 1024).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 0x10

void SX_OPS(nodsq_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(nodsq_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

void SX_OPS(nodsq_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops nodsq_ops = {
	.enqueue = (void *)nodsq_enqueue,
	.dispatch = (void *)nodsq_dispatch,
	.exit = (void *)nodsq_exit,
	.timeout_ms = 5000,
	.name = "scx_nodsq",
};
