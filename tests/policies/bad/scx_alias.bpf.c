// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX007
/*
 * Calls itself otherwise than its card. Bad: what sysfs shows as the running scheduler
 * could not be told from a foreign one.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(alias_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(alias_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops alias_ops = {
	.enqueue = (void *)alias_enqueue,
	.exit = (void *)alias_exit,
	.timeout_ms = 5000,
	.name = "scx_other",
};
