// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX202
// card: [tunables.slice_ns]
// card: type = "u64"
// card: unit = "ns"
// card: default = 5000000
// card: min = 1000000
// card: max = 10000000000
// card: description = "Longest run while others wait."
/*
 * A global FIFO whose slice is a tunable with a harmless default. Bad: its card allows
 * ten seconds, and the operator who sets that gets them.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

const volatile u64 slice_ns = 5000000;

void SX_OPS(tunslice_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
}

void SX_OPS(tunslice_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops tunslice_ops = {
	.enqueue = (void *)tunslice_enqueue,
	.exit = (void *)tunslice_exit,
	.timeout_ms = 5000,
	.name = "scx_tunslice",
};
