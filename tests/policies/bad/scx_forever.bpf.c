// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX201
/*
 * Gives every task an infinite slice and never preempts. Bad: a CPU-bound task keeps
 * its CPU for good; not even the watchdog's own worker gets to run.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define FOREVER_NS (~0ULL)

void SX_OPS(forever_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, FOREVER_NS, enq_flags);
}

void SX_OPS(forever_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops forever_ops = {
	.enqueue = (void *)forever_enqueue,
	.exit = (void *)forever_exit,
	.timeout_ms = 5000,
	.name = "scx_forever",
};
