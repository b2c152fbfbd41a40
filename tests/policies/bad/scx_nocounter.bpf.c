// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX011
// card: [counters.nr_missing]
// card: description = "Not in the object."
/*
 * Its card promises a counter that the object does not have. Bad: the daemon would
 * read it at a place that belongs to something else.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(nocounter_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(nocounter_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops nocounter_ops = {
	.enqueue = (void *)nocounter_enqueue,
	.exit = (void *)nocounter_exit,
	.timeout_ms = 5000,
	.name = "scx_nocounter",
};
