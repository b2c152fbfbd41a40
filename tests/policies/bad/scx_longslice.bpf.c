// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX202
/*
 * A global FIFO with slices of five seconds. Bad: with two tasks per CPU each one
 * waits longer than any service can stand.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000000ULL

void SX_OPS(longslice_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(longslice_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops longslice_ops = {
	.enqueue = (void *)longslice_enqueue,
	.exit = (void *)longslice_exit,
	.timeout_ms = 5000,
	.name = "scx_longslice",
};
