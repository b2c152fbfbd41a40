// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=runnable
/*
 * Thinks for 60000 rounds before it queues a task and before it takes one. Bad: each
 * number is within what is allowed, but the CPUs do little else.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

u64 total;

#define ROUNDS 60000

static long slowdisp_think(u64 i, void *ctx)
{
	*(u64 *)ctx += bpf_get_prandom_u32() ^ bpf_get_prandom_u32();
	*(u64 *)ctx += bpf_get_prandom_u32() ^ bpf_get_prandom_u32();
	return 0;
}

void SX_OPS(slowdisp_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 sum = 0;

	bpf_loop(ROUNDS, slowdisp_think, &sum, 0);
	total = sum;
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(slowdisp_dispatch, s32 cpu, struct task_struct *prev)
{
	u64 sum = 0;

	bpf_loop(ROUNDS, slowdisp_think, &sum, 0);
	total = sum;
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(slowdisp_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(slowdisp_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops slowdisp_ops = {
	.enqueue = (void *)slowdisp_enqueue,
	.dispatch = (void *)slowdisp_dispatch,
	.init = (void *)slowdisp_init,
	.exit = (void *)slowdisp_exit,
	.timeout_ms = 5000,
	.name = "scx_slowdisp",
};
