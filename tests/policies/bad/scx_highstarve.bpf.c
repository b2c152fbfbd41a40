// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=nice-mix
/*
 * Two queues by weight, the wrong way round: tasks of negative nice values come last.
 * Bad: whoever was given a higher priority waits for ever while anybody else wants to
 * run.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define FIRST_DSQ 1
#define LAST_DSQ 2

static __always_inline bool highstarve_last(struct task_struct *p)
{
	return p->scx.weight > 100 && !(p->flags & SX_PF_KTHREAD);
}

void SX_OPS(highstarve_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, highstarve_last(p) ? LAST_DSQ : FIRST_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(highstarve_dispatch, s32 cpu, struct task_struct *prev)
{
	if (sx_consume(FIRST_DSQ))
		return;
	if (prev && (prev->scx.flags & SX_TASK_QUEUED) && !highstarve_last(prev)) {
		sx_set_slice(prev, SLICE_NS);
		return;
	}
	sx_consume(LAST_DSQ);
}

s32 SX_OPS_SLEEPABLE(highstarve_init)
{
	s32 err = scx_bpf_create_dsq(FIRST_DSQ, -1);

	return err ?: scx_bpf_create_dsq(LAST_DSQ, -1);
}

void SX_OPS(highstarve_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops highstarve_ops = {
	.enqueue = (void *)highstarve_enqueue,
	.dispatch = (void *)highstarve_dispatch,
	.init = (void *)highstarve_init,
	.exit = (void *)highstarve_exit,
	.timeout_ms = 5000,
	.name = "scx_highstarve",
};
