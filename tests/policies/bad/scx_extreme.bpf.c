// SPDX-License-Identifier: GPL-2.0
// expect: stage=kernel rule=load-extremes
// card: [tunables.level]
// card: type = "u32"
// card: unit = "index"
// card: default = 4
// card: min = 0
// card: max = 100
// card: description = "Which of the slices."
/*
 * A table of sixteen slices and a tunable that chooses one. Bad: the tunable's default
 * loads, its maximum reads beyond the table and is refused by the kernel's verifier.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

const volatile u32 level = 4;

u64 slices[16] = { 5000000, 5000000, 5000000, 5000000, 5000000, 5000000 };

void SX_OPS(extreme_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 ns = slices[level];

	sx_insert(p, SX_DSQ_GLOBAL, ns > 1000000 && ns < 20000000 ? ns : 5000000, enq_flags);
}

void SX_OPS(extreme_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops extreme_ops = {
	.enqueue = (void *)extreme_enqueue,
	.exit = (void *)extreme_exit,
	.timeout_ms = 5000,
	.name = "scx_extreme",
};
