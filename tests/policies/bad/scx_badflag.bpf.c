// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX009
/*
 * Sets a flag that no kernel knows. Bad: attaching fails with EINVAL and nothing says
 * why.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(badflag_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(badflag_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops badflag_ops = {
	.enqueue = (void *)badflag_enqueue,
	.flags = 1ULL << 40,
	.exit = (void *)badflag_exit,
	.timeout_ms = 5000,
	.name = "scx_badflag",
};
