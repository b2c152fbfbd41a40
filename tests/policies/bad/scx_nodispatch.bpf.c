// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX105
/*
 * Queues tasks in a queue of its own and relies on the kernel to serve it. Bad: the
 * kernel drains built-in queues only; without a dispatch callback nobody runs.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

void SX_OPS(nodispatch_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

s32 SX_OPS_SLEEPABLE(nodispatch_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(nodispatch_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops nodispatch_ops = {
	.enqueue = (void *)nodispatch_enqueue,
	.init = (void *)nodispatch_init,
	.exit = (void *)nodispatch_exit,
	.timeout_ms = 5000,
	.name = "scx_nodispatch",
};
