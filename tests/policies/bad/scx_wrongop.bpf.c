// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX006
/*
 * Takes a task from the queue right where it put it. Bad: moving to the local queue is
 * allowed in dispatch only; the kernel's verifier refuses to load it.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

void SX_OPS(wrongop_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
	sx_consume(SHARED_DSQ);
}

void SX_OPS(wrongop_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(wrongop_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(wrongop_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops wrongop_ops = {
	.enqueue = (void *)wrongop_enqueue,
	.dispatch = (void *)wrongop_dispatch,
	.init = (void *)wrongop_init,
	.exit = (void *)wrongop_exit,
	.timeout_ms = 5000,
	.name = "scx_wrongop",
};
