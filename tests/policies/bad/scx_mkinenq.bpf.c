// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX006
/*
 * Creates the queue of a process when its first task comes by. Bad: creating may sleep
 * and enqueue may not; the kernel's verifier refuses to load it.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

void SX_OPS(mkinenq_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_bpf_create_dsq(SHARED_DSQ, -1);
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(mkinenq_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

void SX_OPS(mkinenq_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops mkinenq_ops = {
	.enqueue = (void *)mkinenq_enqueue,
	.dispatch = (void *)mkinenq_dispatch,
	.exit = (void *)mkinenq_exit,
	.timeout_ms = 5000,
	.name = "scx_mkinenq",
};
