// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=latency
/*
 * A FIFO with slices of 400 ms for good throughput; only kernel threads do not wait
 * for them. Bad: a task that wakes up waits for several of them before it gets a CPU.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 400000000

#define SHARED_DSQ 1

void SX_OPS(bigslice_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (p->flags & SX_PF_KTHREAD)
		sx_insert(p, SX_DSQ_LOCAL, SLICE_NS, enq_flags | SX_ENQ_PREEMPT);
	else
		sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(bigslice_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(bigslice_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(bigslice_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops bigslice_ops = {
	.enqueue = (void *)bigslice_enqueue,
	.dispatch = (void *)bigslice_dispatch,
	.init = (void *)bigslice_init,
	.exit = (void *)bigslice_exit,
	.timeout_ms = 5000,
	.name = "scx_bigslice",
};
