// SPDX-License-Identifier: GPL-2.0
// expect: stage=kernel rule=load
/*
 * Looks at the task that ran before without asking whether there was one. Bad: prev is
 * NULL when the CPU was idle; the kernel's verifier refuses to load it.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

void SX_OPS(nullprev_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(nullprev_dispatch, s32 cpu, struct task_struct *prev)
{
	if (!sx_consume(SHARED_DSQ) && prev->scx.slice < SLICE_NS)
		sx_set_slice(prev, SLICE_NS);
}

s32 SX_OPS_SLEEPABLE(nullprev_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(nullprev_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops nullprev_ops = {
	.enqueue = (void *)nullprev_enqueue,
	.dispatch = (void *)nullprev_dispatch,
	.init = (void *)nullprev_init,
	.exit = (void *)nullprev_exit,
	.timeout_ms = 5000,
	.name = "scx_nullprev",
};
