// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX102
/*
 * Queues each task twice, so that it "surely runs". Bad: the kernel ejects a policy
 * that inserts a task again before it ran (kind 1024).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(double_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
	sx_insert(p, SX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

void SX_OPS(double_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops double_ops = {
	.enqueue = (void *)double_enqueue,
	.exit = (void *)double_exit,
	.timeout_ms = 5000,
	.name = "scx_double",
};
