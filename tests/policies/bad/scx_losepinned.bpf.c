// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX101
/*
 * A global FIFO that forgets the tasks which may run on one CPU only. Bad: one path
 * through enqueue returns without queueing the task; most kernel threads take it.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(losepinned_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (p->nr_cpus_allowed == 1)
		return;
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(losepinned_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops losepinned_ops = {
	.enqueue = (void *)losepinned_enqueue,
	.exit = (void *)losepinned_exit,
	.timeout_ms = 5000,
	.name = "scx_losepinned",
};
