// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=pinned
/*
 * The running task goes on for as long as it wants to. Bad: its slices are short, but
 * it gets one after the other while everybody else waits. Who may run on
 * another CPU finds one now and then; who is pinned to this one does not.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

void SX_OPS(keepon_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(keepon_dispatch, s32 cpu, struct task_struct *prev)
{
	if (prev && (prev->scx.flags & SX_TASK_QUEUED))
		sx_set_slice(prev, SLICE_NS);
	else
		sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(keepon_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(keepon_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops keepon_ops = {
	.enqueue = (void *)keepon_enqueue,
	.dispatch = (void *)keepon_dispatch,
	.init = (void *)keepon_init,
	.exit = (void *)keepon_exit,
	.timeout_ms = 5000,
	.name = "scx_keepon",
};
