// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * A task that wakes up cuts the running one short. Sound: of four runs on a CPU one
 * goes to a task that did not just wake up, so that wake-ups alone cannot keep the
 * CPU.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define REST_DSQ 1
#define WAKE_DSQ 2
#define STREAK_MAX 3

static u32 streak[64];

void SX_OPS(preempt_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 idle = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	bool woken = enq_flags & SX_ENQ_WAKEUP;

	sx_insert(p, woken ? WAKE_DSQ : REST_DSQ, SLICE_NS, enq_flags);
	if (idle >= 0)
		scx_bpf_kick_cpu(idle, SX_KICK_IDLE);
	else if (woken)
		scx_bpf_kick_cpu(scx_bpf_task_cpu(p), SX_KICK_PREEMPT);
}

void SX_OPS(preempt_dispatch, s32 cpu, struct task_struct *prev)
{
	u32 *runs = &streak[cpu & 63];

	if (*runs < STREAK_MAX && sx_consume(WAKE_DSQ)) {
		*runs += 1;
		return;
	}
	*runs = 0;
	if (!sx_consume(REST_DSQ))
		sx_consume(WAKE_DSQ);
}

s32 SX_OPS_SLEEPABLE(preempt_init)
{
	s32 err = scx_bpf_create_dsq(REST_DSQ, -1);

	return err ?: scx_bpf_create_dsq(WAKE_DSQ, -1);
}

void SX_OPS(preempt_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops preempt_ops = {
	.enqueue = (void *)preempt_enqueue,
	.dispatch = (void *)preempt_dispatch,
	.init = (void *)preempt_init,
	.exit = (void *)preempt_exit,
	.timeout_ms = 5000,
	.name = "scx_preempt",
};
