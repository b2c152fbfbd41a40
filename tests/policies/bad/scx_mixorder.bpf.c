// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=nice-mix
/*
 * One queue, in order of virtual time for most tasks and first in, first out for those
 * of low weight. Bad: the kernel ejects a policy that mixes the two in one queue, once
 * both are there (kind 1024).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

void SX_OPS(mixorder_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (p->flags & SX_PF_KTHREAD) {
		sx_insert(p, SX_DSQ_LOCAL, SLICE_NS, enq_flags);
		return;
	}
	if (p->scx.weight < 100)
		sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
	else
		sx_insert_vtime(p, SHARED_DSQ, SLICE_NS, sx_now(), enq_flags);
}

void SX_OPS(mixorder_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(mixorder_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(mixorder_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops mixorder_ops = {
	.enqueue = (void *)mixorder_enqueue,
	.dispatch = (void *)mixorder_dispatch,
	.init = (void *)mixorder_init,
	.exit = (void *)mixorder_exit,
	.timeout_ms = 5000,
	.name = "scx_mixorder",
};
