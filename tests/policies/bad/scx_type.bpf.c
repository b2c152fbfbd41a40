// SPDX-License-Identifier: GPL-2.0
// expect: stage=compile rule=COMPILE
/*
 * Hands the kernel the task itself where a pointer to it is wanted. Bad: the types do
 * not match.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(type_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(*p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(type_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops type_ops = {
	.enqueue = (void *)type_enqueue,
	.exit = (void *)type_exit,
	.timeout_ms = 5000,
	.name = "scx_type",
};
