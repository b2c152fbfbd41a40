// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=hotplug
/*
 * A queue for each of two CPUs, chosen by process, and callbacks that let it live
 * through hotplug. Bad: tasks are still queued for the CPU that has gone, and nobody
 * else looks there.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

u64 nr_hotplug;

static __always_inline s32 deadcpu_cpu_of(struct task_struct *p)
{
	u32 cpu = p->pid % scx_bpf_nr_cpu_ids();

	if (bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
		return cpu;
	return scx_bpf_task_cpu(p);
}

s32 SX_OPS(deadcpu_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return prev_cpu;
}

void SX_OPS(deadcpu_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 cpu = deadcpu_cpu_of(p);

	if (p->flags & SX_PF_KTHREAD) {
		sx_insert(p, SX_DSQ_LOCAL, SLICE_NS, enq_flags);
		return;
	}
	sx_insert(p, cpu & 1, SLICE_NS, enq_flags);
	scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(deadcpu_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(cpu & 1);
}

void SX_OPS(deadcpu_cpu_online, s32 cpu)
{
	SX_COUNT(nr_hotplug);
}

void SX_OPS(deadcpu_cpu_offline, s32 cpu)
{
	SX_COUNT(nr_hotplug);
}

s32 SX_OPS_SLEEPABLE(deadcpu_init)
{
	s32 err = scx_bpf_create_dsq(0, -1);

	return err ?: scx_bpf_create_dsq(1, -1);
}

void SX_OPS(deadcpu_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops deadcpu_ops = {
	.select_cpu = (void *)deadcpu_select_cpu,
	.enqueue = (void *)deadcpu_enqueue,
	.dispatch = (void *)deadcpu_dispatch,
	.cpu_online = (void *)deadcpu_cpu_online,
	.cpu_offline = (void *)deadcpu_cpu_offline,
	.init = (void *)deadcpu_init,
	.exit = (void *)deadcpu_exit,
	.timeout_ms = 5000,
	.name = "scx_deadcpu",
};
