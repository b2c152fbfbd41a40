// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX406
/*
 * Raises the priority of each task by writing to it. Bad: a policy may write a task's
 * slice, dsq_vtime and disallow only; everything else is the kernel's.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(setprio_enqueue, struct task_struct *p, u64 enq_flags)
{
	p->prio = 1;
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(setprio_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops setprio_ops = {
	.enqueue = (void *)setprio_enqueue,
	.exit = (void *)setprio_exit,
	.timeout_ms = 5000,
	.name = "scx_setprio",
};
