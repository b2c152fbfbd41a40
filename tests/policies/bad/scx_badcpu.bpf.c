// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX402
/*
 * Sends every task that wakes up to CPU 100000. Bad: there is no such CPU; the kernel
 * ejects the policy at the first wake-up (kind 1024).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

s32 SX_OPS(badcpu_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return 100000;
}

void SX_OPS(badcpu_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(badcpu_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops badcpu_ops = {
	.select_cpu = (void *)badcpu_select_cpu,
	.enqueue = (void *)badcpu_enqueue,
	.exit = (void *)badcpu_exit,
	.timeout_ms = 5000,
	.name = "scx_badcpu",
};
