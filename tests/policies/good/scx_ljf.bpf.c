// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * Longest job first: who has used more CPU time so far goes ahead of those who have
 * used less. Sound: the head start is 200 ms at most, so that with time everybody is
 * older than any newcomer's key.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

#define AHEAD_MAX_NS 200000000ULL

static __always_inline void ljf_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(ljf_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 ahead = p->se.sum_exec_runtime < AHEAD_MAX_NS ? p->se.sum_exec_runtime : AHEAD_MAX_NS;

	sx_insert_vtime(p, SHARED_DSQ, SLICE_NS, sx_now() - ahead, enq_flags);
	ljf_kick(p);
}

void SX_OPS(ljf_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(ljf_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(ljf_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops ljf_ops = {
	.enqueue = (void *)ljf_enqueue,
	.dispatch = (void *)ljf_dispatch,
	.init = (void *)ljf_init,
	.exit = (void *)ljf_exit,
	.timeout_ms = 5000,
	.name = "scx_ljf",
};
