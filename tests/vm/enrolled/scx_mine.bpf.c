// SPDX-License-Identifier: GPL-2.0
/* Sound: one queue in order of arrival, which every CPU takes from. */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 2000000
#define SHARED_DSQ 1

void SX_OPS(mine_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(mine_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(mine_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(mine_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops mine_ops = {
	.enqueue = (void *)mine_enqueue,
	.dispatch = (void *)mine_dispatch,
	.init = (void *)mine_init,
	.exit = (void *)mine_exit,
	.timeout_ms = 5000,
	.name = "scx_mine",
};
