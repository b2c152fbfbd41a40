// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX301
/*
 * Computes something in two nested loops of eight million rounds each. Bad: the
 * kernel's verifier accepts it, and the first enqueue hangs the machine for good.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define ROUNDS (8 << 20)

u64 total;

static long nestloop_spin(u64 i, void *ctx)
{
	*(u64 *)ctx += i;
	return 0;
}

static long nestloop_outer(u64 i, void *ctx)
{
	bpf_loop(ROUNDS, nestloop_spin, ctx, 0);
	return 0;
}

void SX_OPS(nestloop_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 sum = 0;

	bpf_loop(ROUNDS, nestloop_outer, &sum, 0);
	total = sum;
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(nestloop_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops nestloop_ops = {
	.enqueue = (void *)nestloop_enqueue,
	.exit = (void *)nestloop_exit,
	.timeout_ms = 5000,
	.name = "scx_nestloop",
};
