// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX301
/*
 * The number of rounds comes from a map, and the loop hides in a subprogram. Bad:
 * nothing bounds that number but its type; whoever writes the map stops the machine.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

u64 total;
u32 rounds = 10;

static long loopcall_spin(u64 i, void *ctx)
{
	*(u64 *)ctx += i;
	return 0;
}

static __noinline u64 loopcall_work(u32 count)
{
	u64 sum = 0;

	bpf_loop(count, loopcall_spin, &sum, 0);
	return sum;
}

void SX_OPS(loopcall_enqueue, struct task_struct *p, u64 enq_flags)
{
	total = loopcall_work(rounds);
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(loopcall_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops loopcall_ops = {
	.enqueue = (void *)loopcall_enqueue,
	.exit = (void *)loopcall_exit,
	.timeout_ms = 5000,
	.name = "scx_loopcall",
};
