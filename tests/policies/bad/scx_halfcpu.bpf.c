// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=throughput
/*
 * A queue for each of two CPUs, but whoever may run on more than one goes to that of
 * CPU 0. Bad: nobody starves, but every other CPU is idle while tasks wait.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

s32 SX_OPS(halfcpu_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return prev_cpu;
}

void SX_OPS(halfcpu_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 cpu = p->nr_cpus_allowed == 1 ? scx_bpf_task_cpu(p) & 1 : 0;

	if (p->flags & SX_PF_KTHREAD) {
		sx_insert(p, SX_DSQ_LOCAL, SLICE_NS, enq_flags);
		return;
	}
	sx_insert(p, cpu, SLICE_NS, enq_flags);
	scx_bpf_kick_cpu(cpu, 0);
}

void SX_OPS(halfcpu_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(cpu & 1);
}

s32 SX_OPS_SLEEPABLE(halfcpu_init)
{
	s32 err = scx_bpf_create_dsq(0, -1);

	return err ?: scx_bpf_create_dsq(1, -1);
}

void SX_OPS(halfcpu_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops halfcpu_ops = {
	.select_cpu = (void *)halfcpu_select_cpu,
	.enqueue = (void *)halfcpu_enqueue,
	.dispatch = (void *)halfcpu_dispatch,
	.init = (void *)halfcpu_init,
	.exit = (void *)halfcpu_exit,
	/* Else a CPU would keep the task that it runs. */
	.flags = SCX_OPS_ENQ_LAST,
	.timeout_ms = 5000,
	.name = "scx_halfcpu",
};
