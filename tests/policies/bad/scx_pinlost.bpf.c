// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=pinned
/*
 * User tasks that may run on one CPU only have a queue of their own. Bad: only CPU 0
 * looks into it, so that those of every other CPU wait for ever.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1
#define PINNED_DSQ 2

void SX_OPS(pinlost_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (p->flags & SX_PF_KTHREAD) {
		sx_insert(p, SX_DSQ_LOCAL, SLICE_NS, enq_flags);
		return;
	}
	sx_insert(p, p->nr_cpus_allowed == 1 ? PINNED_DSQ : SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(pinlost_dispatch, s32 cpu, struct task_struct *prev)
{
	if (cpu == 0 && sx_consume(PINNED_DSQ))
		return;
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(pinlost_init)
{
	s32 err = scx_bpf_create_dsq(SHARED_DSQ, -1);

	return err ?: scx_bpf_create_dsq(PINNED_DSQ, -1);
}

void SX_OPS(pinlost_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops pinlost_ops = {
	.enqueue = (void *)pinlost_enqueue,
	.dispatch = (void *)pinlost_dispatch,
	.init = (void *)pinlost_init,
	.exit = (void *)pinlost_exit,
	.timeout_ms = 5000,
	.name = "scx_pinlost",
};
