// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX301
/*
 * Looks at a thousand things for each of a thousand things in dispatch. Bad: a million
 * rounds of an open-coded iterator with the run queue locked take longer than a tick.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

u64 total;

void SX_OPS(forloop_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(forloop_dispatch, s32 cpu, struct task_struct *prev)
{
	s32 i, j;

	bpf_for(i, 0, 1000) {
		bpf_for(j, 0, 1000)
			total += i ^ j;
	}
}

void SX_OPS(forloop_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops forloop_ops = {
	.enqueue = (void *)forloop_enqueue,
	.dispatch = (void *)forloop_dispatch,
	.exit = (void *)forloop_exit,
	.timeout_ms = 5000,
	.name = "scx_forloop",
};
