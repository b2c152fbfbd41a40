// SPDX-License-Identifier: GPL-2.0
// expect: stage=kernel rule=load
/*
 * Two functions that call each other with 300 bytes on the stack each. Bad: together
 * they need more than the 512 bytes that a BPF program has; each one alone compiles.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

u64 total;

static __noinline u64 bigstack_inner(u64 seed)
{
	volatile char text[300] = {};

	text[seed % sizeof(text)] = 1;
	return text[(seed + 1) % sizeof(text)];
}

static __noinline u64 bigstack_outer(u64 seed)
{
	volatile char text[300] = {};

	text[seed % sizeof(text)] = bigstack_inner(seed);
	return text[(seed + 1) % sizeof(text)];
}

void SX_OPS(bigstack_enqueue, struct task_struct *p, u64 enq_flags)
{
	total += bigstack_outer(enq_flags);
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(bigstack_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops bigstack_ops = {
	.enqueue = (void *)bigstack_enqueue,
	.exit = (void *)bigstack_exit,
	.timeout_ms = 5000,
	.name = "scx_bigstack",
};
