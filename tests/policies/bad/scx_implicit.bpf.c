// SPDX-License-Identifier: GPL-2.0
// expect: stage=compile rule=COMPILE
/*
 * Calls a function of the C library that nobody declared. Bad: there is no such
 * function for BPF; the object could not be linked.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(implicit_enqueue, struct task_struct *p, u64 enq_flags)
{
	printf("%d\n", p->pid);
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(implicit_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops implicit_ops = {
	.enqueue = (void *)implicit_enqueue,
	.exit = (void *)implicit_exit,
	.timeout_ms = 5000,
	.name = "scx_implicit",
};
