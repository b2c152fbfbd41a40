// SPDX-License-Identifier: GPL-2.0
/*
 * scx_fair: weighted fair sharing of all CPUs through one queue.
 *
 * Policy: the task with the least weighted CPU time runs next, on whichever CPU
 * asks first.  Weights are those of nice and SCHED_IDLE.  A task that wakes up
 * takes an idle CPU, else it cuts short the task that is furthest ahead.  Tasks
 * that may run on one CPU only compete with the others in the same order, and
 * kernel threads go first.  See scx_fair_core.bpf.h for how.
 *
 * Suits: machines up to a few dozen CPUs with a mix of CPU-bound and sleeping
 * tasks; the base that other policies are derived from and compared with.
 *
 * Does not suit: large or NUMA machines (one queue, one lock, no memory of where
 * a task's cache is); hosts that rely on cpu.weight, cpu.max or cpu.idle, which
 * it does not honour; sets of tasks confined to a few of many CPUs, whose nice
 * ratios it keeps only roughly when these CPUs are overloaded.
 *
 * kfuncs: create_dsq, dsq_insert, dsq_insert_vtime, dsq_move, dsq_move_to_local,
 * dsq_nr_queued, bpf_iter_scx_dsq, select_cpu_dfl, pick_idle_cpu, kick_cpu,
 * reenqueue_local; task_set_slice where present.  Kernel 6.16 or later.
 */
#include "scx_fair_core.bpf.h"

char _license[] SEC("license") = "GPL";

s32 SX_OPS(fair_select_cpu_op, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return fair_select_cpu(p, prev_cpu, wake_flags);
}

void SX_OPS(fair_enqueue_op, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (t)
		fair_enqueue(p, t, enq_flags);
	else
		sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
}

void SX_OPS(fair_dispatch_op, s32 cpu, struct task_struct *prev)
{
	struct fair_cpu *c = fair_cpu(cpu);
	struct fair_task *t = NULL;
	struct fair_head head;

	if (!c)
		return;
	if (prev && fair_is_queued(prev))
		t = fair_task(prev);
	if (t)
		fair_charge(prev, t);
	fair_find(cpu, c, t ? prev : NULL, t, &head);
	fair_pick(cpu, c, t ? prev : NULL, t, &head);
}

void SX_OPS(fair_runnable_op, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t)
		return;
	fair_load_add(p, t);
	fair_wake(p, t, enq_flags);
}

void SX_OPS(fair_running_op, struct task_struct *p)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));
	struct fair_task *t = fair_task(p);

	if (t && c)
		fair_running(p, t, c);
}

void SX_OPS(fair_stopping_op, struct task_struct *p, bool runnable)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));
	struct fair_task *t = fair_task(p);

	if (t)
		fair_charge(p, t);
	if (c)
		c->run = FAIR_RUN_OTHER;
}

void SX_OPS(fair_quiescent_op, struct task_struct *p, u64 deq_flags)
{
	struct fair_task *t = fair_task(p);

	if (t)
		fair_load_sub(t);
}

bool SX_OPS(fair_yield_op, struct task_struct *from, struct task_struct *to)
{
	struct fair_task *t = fair_task(from);

	if (t && !to)
		fair_yield(from, t);
	return false;
}

void SX_OPS(fair_cpu_release_op, s32 cpu, struct scx_cpu_release_args *args)
{
	SX_COUNT(nr_reenqueued);
	sx_reenqueue_local();
}

void SX_OPS(fair_cpu_online_op, s32 cpu)
{
	__sync_fetch_and_add(&nr_online, 1);
}

void SX_OPS(fair_cpu_offline_op, s32 cpu)
{
	fair_cpu_offline(cpu);
}

void SX_OPS(fair_enable_op, struct task_struct *p)
{
	struct fair_task *t = fair_task(p);

	if (t)
		fair_enable(p, t);
}

void SX_OPS(fair_disable_op, struct task_struct *p)
{
	struct fair_task *t = fair_task(p);

	if (t)
		fair_load_sub(t);
}

s32 SX_OPS_SLEEPABLE(fair_init_task_op, struct task_struct *p, struct scx_init_task_args *args)
{
	return fair_init_task(p);
}

void SX_OPS(fair_exit_task_op, struct task_struct *p, struct scx_exit_task_args *args)
{
	bpf_task_storage_delete(&fair_tasks, p);
}

s32 SX_OPS_SLEEPABLE(fair_init_op)
{
	return fair_init();
}

void SX_OPS(fair_exit_op, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops fair_ops = {
	.select_cpu = (void *)fair_select_cpu_op,
	.enqueue = (void *)fair_enqueue_op,
	.dispatch = (void *)fair_dispatch_op,
	.runnable = (void *)fair_runnable_op,
	.running = (void *)fair_running_op,
	.stopping = (void *)fair_stopping_op,
	.quiescent = (void *)fair_quiescent_op,
	.yield = (void *)fair_yield_op,
	.cpu_release = (void *)fair_cpu_release_op,
	.cpu_online = (void *)fair_cpu_online_op,
	.cpu_offline = (void *)fair_cpu_offline_op,
	.enable = (void *)fair_enable_op,
	.disable = (void *)fair_disable_op,
	.init_task = (void *)fair_init_task_op,
	.exit_task = (void *)fair_exit_task_op,
	.init = (void *)fair_init_op,
	.exit = (void *)fair_exit_op,
	.timeout_ms = 30000,
	.name = "scx_fair",
};
