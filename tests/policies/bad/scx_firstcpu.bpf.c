// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=throughput
/*
 * Sends every task to the first CPU where it may run. Bad: nobody starves there, but
 * on any machine with more than one CPU all others are idle.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

s32 SX_OPS(firstcpu_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return prev_cpu;
}

void SX_OPS(firstcpu_enqueue, struct task_struct *p, u64 enq_flags)
{
	bool first = bpf_cpumask_test_cpu(0, p->cpus_ptr);

	sx_insert(p, first ? SX_DSQ_LOCAL_ON : SX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

void SX_OPS(firstcpu_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops firstcpu_ops = {
	.select_cpu = (void *)firstcpu_select_cpu,
	.enqueue = (void *)firstcpu_enqueue,
	.exit = (void *)firstcpu_exit,
	/* Else a CPU would keep the task that it runs. */
	.flags = SCX_OPS_ENQ_LAST,
	.timeout_ms = 5000,
	.name = "scx_firstcpu",
};
