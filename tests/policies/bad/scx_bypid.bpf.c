// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=runnable
/*
 * The task with the lowest number runs first, always. Bad: with more tasks than CPUs
 * the youngest ones never run; no queue is left undrained.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

void SX_OPS(bypid_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert_vtime(p, SHARED_DSQ, SLICE_NS, p->pid, enq_flags);
}

void SX_OPS(bypid_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_struct *head;
	bool keep = false;

	bpf_for_each(scx_dsq, head, SHARED_DSQ, 0) {
		keep = prev && (prev->scx.flags & SX_TASK_QUEUED) && prev->pid < head->pid;
		break;
	}
	if (keep)
		sx_set_slice(prev, SLICE_NS);
	else
		sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(bypid_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(bypid_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops bypid_ops = {
	.enqueue = (void *)bypid_enqueue,
	.dispatch = (void *)bypid_dispatch,
	.init = (void *)bypid_init,
	.exit = (void *)bypid_exit,
	.timeout_ms = 5000,
	.name = "scx_bypid",
};
