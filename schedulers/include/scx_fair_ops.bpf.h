// SPDX-License-Identifier: GPL-2.0
/* The ops that are the same in every policy with a fair class. */
#ifndef SCX_FAIR_OPS_BPF_H
#define SCX_FAIR_OPS_BPF_H

#include "scx_fair_core.bpf.h"

s32 SX_OPS(fair_op_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return FAIR_SELECT_CPU(p, prev_cpu, wake_flags);
}

/* A higher class has the CPU: others may run what is queued there. */
void SX_OPS(fair_op_cpu_release, s32 cpu, struct scx_cpu_release_args *args)
{
	SX_COUNT(nr_reenqueued);
	sx_reenqueue_local();
}

/* Without this op and cpu_offline the kernel unloads the policy at every hotplug. */
void SX_OPS(fair_op_cpu_online, s32 cpu)
{
	__sync_fetch_and_add(&nr_online, 1);
}

void SX_OPS(fair_op_enable, struct task_struct *p)
{
	struct fair_task *t = fair_task(p);

	if (t)
		fair_enable(p, t);
}

void SX_OPS(fair_op_disable, struct task_struct *p)
{
	struct fair_task *t = fair_task(p);

	if (t)
		fair_load_sub(t);
}

s32 SX_OPS_SLEEPABLE(fair_op_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	return fair_init_task(p);
}

void SX_OPS(fair_op_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	bpf_task_storage_delete(&fair_tasks, p);
}

void SX_OPS(fair_op_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

#endif /* SCX_FAIR_OPS_BPF_H */
