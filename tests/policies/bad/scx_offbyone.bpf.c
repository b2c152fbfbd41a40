// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX103
/*
 * Four queues by weight, made in a loop, and one for batch tasks. Bad: the loop stops
 * before that one.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000
#define BASE 16
#define NR 4
#define BATCH_DSQ (BASE + NR)

void SX_OPS(offbyone_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	u64 dsq = BASE + (p->scx.weight / 50) % NR;

	if (p->policy == 3)
		sx_insert(p, BATCH_DSQ, 2 * SLICE_NS, enq_flags);
	else
		sx_insert(p, dsq, SLICE_NS, enq_flags);
	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

static u32 turn;

void SX_OPS(offbyone_dispatch, s32 cpu, struct task_struct *prev)
{
	u32 i, first = turn++;

	bpf_for(i, 0, NR + 1) {
		if (sx_consume(BASE + (first + i) % (NR + 1)))
			return;
	}
}

s32 SX_OPS_SLEEPABLE(offbyone_init)
{
	s32 err;
	u32 i;

	bpf_for(i, 0, NR) {
		err = scx_bpf_create_dsq(BASE + i, -1);
		if (err)
			return err;
	}
	return 0;
}

void SX_OPS(offbyone_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops offbyone_ops = {
	.enqueue = (void *)offbyone_enqueue,
	.dispatch = (void *)offbyone_dispatch,
	.init = (void *)offbyone_init,
	.exit = (void *)offbyone_exit,
	.timeout_ms = 5000,
	.name = "scx_offbyone",
};
