// SPDX-License-Identifier: GPL-2.0
/*
 * scx_batch: one cgroup runs to completion, oldest process first; all other
 * tasks share the CPUs fairly, as under scx_fair.
 *
 * Policy: the tasks of the target cgroup and its descendants form a batch.  To
 * the others the batch is one competitor in vtime order, of batch_weight per CPU;
 * it gives way to their wake-ups.  Inside it the oldest process has the CPUs it
 * can use, then the next oldest, and so on.  Threads of a process take turns.
 *
 * Nobody waits for long, though: every waiting task runs for sip_ns once per epoch.
 * See scx_batch_core.bpf.h for how.
 *
 * Suits: many independent CPU-bound jobs that all have to finish, above all when
 * one is much longer and started early: compression, encoding, test shards.
 *
 * Does not suit: jobs that wait for each other by spinning; a batch whose results
 * are wanted at an even pace; a long job that is started last; jobs that spend
 * most of their time in system calls or waiting for kernel locks (order is lost);
 * more than some 1000 waiting tasks per CPU (sips take all the time there is).
 * A task preempted in a page fault may still keep a lock for an epoch.  Hosts that
 * use cpu.weight, cpu.max or cpu.idle, and large machines, as for scx_fair.  Tasks
 * of the batch that are pinned to one CPU count as the others.
 *
 * kfuncs: those of scx_fair.  Kernel 6.16 or later.
 */
#include "scx_batch_ops.bpf.h"

char _license[] SEC("license") = "GPL";

static u64 batch_rank(struct task_struct *p, struct fair_task *t, bool joins)
{
	return joins ? batch_age_order(p) : t->order;
}

static void batch_charged(struct task_struct *p)
{
}

SEC(".struct_ops.link")
struct sched_ext_ops batch_ops = {
	.select_cpu = (void *)fair_op_select_cpu,
	.enqueue = (void *)target_op_enqueue,
	.dispatch = (void *)target_op_dispatch,
	.runnable = (void *)target_op_runnable,
	.running = (void *)target_op_running,
	.stopping = (void *)target_op_stopping,
	.quiescent = (void *)target_op_quiescent,
	.yield = (void *)target_op_yield,
	.cpu_release = (void *)fair_op_cpu_release,
	.cpu_online = (void *)fair_op_cpu_online,
	.cpu_offline = (void *)target_op_cpu_offline,
	.enable = (void *)fair_op_enable,
	.disable = (void *)fair_op_disable,
	.init_task = (void *)fair_op_init_task,
	.exit_task = (void *)fair_op_exit_task,
	.init = (void *)target_op_init,
	.exit = (void *)fair_op_exit,
	.timeout_ms = 30000,
	.name = "scx_batch",
};
