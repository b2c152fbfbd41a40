// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX002
/*
 * A scheduler in the section for struct_ops without a link. Bad: without a link nobody
 * owns the attachment, and it would outlive the daemon.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(nolink_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(nolink_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops")
struct sched_ext_ops nolink_ops = {
	.enqueue = (void *)nolink_enqueue,
	.exit = (void *)nolink_exit,
	.timeout_ms = 5000,
	.name = "scx_nolink",
};
