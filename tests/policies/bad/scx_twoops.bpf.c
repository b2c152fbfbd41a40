// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX002
/*
 * Two schedulers in one object. Bad: it cannot be said which of them the report and
 * the token are about.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(twoops_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(twoops_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops twoops_ops = {
	.enqueue = (void *)twoops_enqueue,
	.exit = (void *)twoops_exit,
	.timeout_ms = 5000,
	.name = "scx_twoops",
};

SEC(".struct_ops.link")
struct sched_ext_ops twoops_other = {
	.enqueue = (void *)twoops_enqueue,
	.exit = (void *)twoops_exit,
	.timeout_ms = 5000,
	.name = "twoops_other",
};
