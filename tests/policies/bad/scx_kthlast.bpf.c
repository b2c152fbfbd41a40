// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=pinned
/*
 * User tasks first, kernel threads when nobody else wants the CPU. Bad: under load the
 * kernel's own workers starve, and after them everything that waits for them (kind
 * 1026).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define USER_DSQ 1
#define KERNEL_DSQ 2

static __always_inline bool kthlast_last(struct task_struct *p)
{
	return p->flags & SX_PF_KTHREAD;
}

void SX_OPS(kthlast_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, kthlast_last(p) ? KERNEL_DSQ : USER_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(kthlast_dispatch, s32 cpu, struct task_struct *prev)
{
	if (sx_consume(USER_DSQ))
		return;
	if (prev && (prev->scx.flags & SX_TASK_QUEUED) && !kthlast_last(prev)) {
		sx_set_slice(prev, SLICE_NS);
		return;
	}
	sx_consume(KERNEL_DSQ);
}

s32 SX_OPS_SLEEPABLE(kthlast_init)
{
	s32 err = scx_bpf_create_dsq(USER_DSQ, -1);

	return err ?: scx_bpf_create_dsq(KERNEL_DSQ, -1);
}

void SX_OPS(kthlast_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops kthlast_ops = {
	.enqueue = (void *)kthlast_enqueue,
	.dispatch = (void *)kthlast_dispatch,
	.init = (void *)kthlast_init,
	.exit = (void *)kthlast_exit,
	.timeout_ms = 5000,
	.name = "scx_kthlast",
};
