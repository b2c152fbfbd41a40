// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX403
/*
 * Keeps the tasks of root out of the policy. Bad: disallow may be set for tasks that
 * exist at load only; the first fork ends the policy (kind 1024).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(disallow_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

s32 SX_OPS_SLEEPABLE(disallow_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	if (!p->cred->uid.val)
		p->scx.disallow = true;
	return 0;
}

void SX_OPS(disallow_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops disallow_ops = {
	.enqueue = (void *)disallow_enqueue,
	.init_task = (void *)disallow_init_task,
	.exit = (void *)disallow_exit,
	.timeout_ms = 5000,
	.name = "scx_disallow",
};
