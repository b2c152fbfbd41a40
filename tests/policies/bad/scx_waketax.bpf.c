// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=latency
/*
 * For good throughput a task that wakes up is queued as if it came 400 ms later than
 * those that never sleep. Bad: beside them it waits for as long, every time.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000
#define TAX_NS 400000000

#define SHARED_DSQ 1

void SX_OPS(waketax_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 due = sx_now();

	if (p->flags & SX_PF_KTHREAD) {
		sx_insert(p, SX_DSQ_LOCAL, SLICE_NS, enq_flags | SX_ENQ_PREEMPT);
		return;
	}
	if (enq_flags & SX_ENQ_WAKEUP)
		due += TAX_NS;
	sx_insert_vtime(p, SHARED_DSQ, SLICE_NS, due, enq_flags);
}

void SX_OPS(waketax_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(waketax_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(waketax_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops waketax_ops = {
	.enqueue = (void *)waketax_enqueue,
	.dispatch = (void *)waketax_dispatch,
	.init = (void *)waketax_init,
	.exit = (void *)waketax_exit,
	.timeout_ms = 5000,
	.name = "scx_waketax",
};
