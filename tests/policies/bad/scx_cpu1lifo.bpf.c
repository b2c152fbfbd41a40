// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=runnable
/*
 * A queue for each of two CPUs: first in, first out on CPU 0, last in, first out on
 * CPU 1. Bad: only on CPU 1 do tasks wait for ever, and only when there are more than
 * it can run.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

static __always_inline s32 cpu1lifo_cpu_of(struct task_struct *p)
{
	u32 cpu = p->pid % scx_bpf_nr_cpu_ids();

	if (bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
		return cpu;
	return scx_bpf_task_cpu(p);
}

void SX_OPS(cpu1lifo_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 cpu = cpu1lifo_cpu_of(p);
	u64 now = sx_now();

	sx_insert_vtime(p, cpu & 1, SLICE_NS, cpu & 1 ? -now : now, enq_flags);
	scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(cpu1lifo_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(cpu & 1);
}

s32 SX_OPS(cpu1lifo_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return prev_cpu;
}

s32 SX_OPS_SLEEPABLE(cpu1lifo_init)
{
	s32 err = scx_bpf_create_dsq(0, -1);

	return err ?: scx_bpf_create_dsq(1, -1);
}

void SX_OPS(cpu1lifo_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops cpu1lifo_ops = {
	.select_cpu = (void *)cpu1lifo_select_cpu,
	.enqueue = (void *)cpu1lifo_enqueue,
	.dispatch = (void *)cpu1lifo_dispatch,
	.init = (void *)cpu1lifo_init,
	.exit = (void *)cpu1lifo_exit,
	.timeout_ms = 5000,
	.name = "scx_cpu1lifo",
};
