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
#include "scx_fair_ops.bpf.h"

char _license[] SEC("license") = "GPL";

void SX_OPS(fair_op_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (t)
		fair_enqueue(p, t, enq_flags);
	else
		sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
}

void SX_OPS(fair_op_dispatch, s32 cpu, struct task_struct *prev)
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

void SX_OPS(fair_op_runnable, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t)
		return;
	fair_load_add(p, t);
	fair_wake(p, t, enq_flags);
}

void SX_OPS(fair_op_running, struct task_struct *p)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));
	struct fair_task *t = fair_task(p);

	if (t && c)
		fair_running(p, t, c);
}

void SX_OPS(fair_op_stopping, struct task_struct *p, bool runnable)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));
	struct fair_task *t = fair_task(p);

	if (t)
		fair_charge(p, t);
	if (c)
		c->run = FAIR_RUN_OTHER;
}

void SX_OPS(fair_op_quiescent, struct task_struct *p, u64 deq_flags)
{
	struct fair_task *t = fair_task(p);

	if (t)
		fair_load_sub(t);
}

bool SX_OPS(fair_op_yield, struct task_struct *from, struct task_struct *to)
{
	struct fair_task *t = fair_task(from);

	if (t && !to)
		fair_yield(from, t);
	return false;
}

void SX_OPS(fair_op_cpu_offline, s32 cpu)
{
	fair_cpu_offline(cpu);
}

s32 SX_OPS_SLEEPABLE(fair_op_init)
{
	return fair_init();
}

SEC(".struct_ops.link")
struct sched_ext_ops fair_ops = {
	.select_cpu = (void *)fair_op_select_cpu,
	.enqueue = (void *)fair_op_enqueue,
	.dispatch = (void *)fair_op_dispatch,
	.runnable = (void *)fair_op_runnable,
	.running = (void *)fair_op_running,
	.stopping = (void *)fair_op_stopping,
	.quiescent = (void *)fair_op_quiescent,
	.yield = (void *)fair_op_yield,
	.cpu_release = (void *)fair_op_cpu_release,
	.cpu_online = (void *)fair_op_cpu_online,
	.cpu_offline = (void *)fair_op_cpu_offline,
	.enable = (void *)fair_op_enable,
	.disable = (void *)fair_op_disable,
	.init_task = (void *)fair_op_init_task,
	.exit_task = (void *)fair_op_exit_task,
	.init = (void *)fair_op_init,
	.exit = (void *)fair_op_exit,
	.timeout_ms = 30000,
	.name = "scx_fair",
};
