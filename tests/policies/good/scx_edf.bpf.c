// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * Earliest deadline first: a task wants to run within 20 ms of being queued, a heavier
 * one sooner. Sound: deadlines are set from the clock and at most 300 ms ahead, so
 * that every deadline becomes the earliest.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

#define PERIOD_NS 20000000ULL
#define PERIOD_MAX_NS 300000000ULL

static __always_inline void edf_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(edf_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 period = PERIOD_NS * 100 / (p->scx.weight ?: 1);

	if (period > PERIOD_MAX_NS)
		period = PERIOD_MAX_NS;
	sx_insert_vtime(p, SHARED_DSQ, SLICE_NS, sx_now() + period, enq_flags);
	edf_kick(p);
}

void SX_OPS(edf_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(edf_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(edf_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops edf_ops = {
	.enqueue = (void *)edf_enqueue,
	.dispatch = (void *)edf_dispatch,
	.init = (void *)edf_init,
	.exit = (void *)edf_exit,
	.timeout_ms = 5000,
	.name = "scx_edf",
};
