// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX405
// card: ignores = []
/*
 * A global FIFO that does nothing about the limits of cgroups. Bad: its card does not
 * say that cpu.max, cpu.weight and cpu.idle have no effect under it.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(silentcg_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(silentcg_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops silentcg_ops = {
	.enqueue = (void *)silentcg_enqueue,
	.exit = (void *)silentcg_exit,
	.timeout_ms = 5000,
	.name = "scx_silentcg",
};
