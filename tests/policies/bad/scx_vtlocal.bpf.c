// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX106
/*
 * Wants the tasks in its CPUs' local queues in order of virtual time. Bad: built-in
 * queues are first in, first out; the kernel ejects the policy (kind 1024).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(vtlocal_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert_vtime(p, SX_DSQ_LOCAL, SLICE_NS, p->scx.dsq_vtime, enq_flags);
}

void SX_OPS(vtlocal_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops vtlocal_ops = {
	.enqueue = (void *)vtlocal_enqueue,
	.exit = (void *)vtlocal_exit,
	.timeout_ms = 5000,
	.name = "scx_vtlocal",
};
