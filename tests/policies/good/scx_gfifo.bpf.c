// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * One queue for all CPUs, first in, first out. Sound: every task is queued on every
 * path and every CPU takes the first one that it may run.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

static __always_inline void gfifo_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(gfifo_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
	gfifo_kick(p);
}

void SX_OPS(gfifo_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(gfifo_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(gfifo_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops gfifo_ops = {
	.enqueue = (void *)gfifo_enqueue,
	.dispatch = (void *)gfifo_dispatch,
	.init = (void *)gfifo_init,
	.exit = (void *)gfifo_exit,
	.timeout_ms = 5000,
	.name = "scx_gfifo",
};
