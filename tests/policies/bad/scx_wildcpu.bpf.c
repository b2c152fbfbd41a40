// SPDX-License-Identifier: GPL-2.0
// expect: stage=kernel rule=settle
/*
 * Sends tasks to the CPU whose number is in a variable. Bad: the variable holds 4096,
 * which only a run can tell; the first wake-up ends the policy (kind 1024).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

s32 target = 4096;

s32 SX_OPS(wildcpu_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return target;
}

void SX_OPS(wildcpu_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(wildcpu_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops wildcpu_ops = {
	.select_cpu = (void *)wildcpu_select_cpu,
	.enqueue = (void *)wildcpu_enqueue,
	.exit = (void *)wildcpu_exit,
	.timeout_ms = 5000,
	.name = "scx_wildcpu",
};
