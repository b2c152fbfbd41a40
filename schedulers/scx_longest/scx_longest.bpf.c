// SPDX-License-Identifier: GPL-2.0
/*
 * scx_longest: in one cgroup the process with the most CPU time left to use runs
 * first; all other tasks share the CPUs fairly, as under scx_fair.
 *
 * Policy: as scx_batch, but with another order inside the batch.  A program outside
 * writes into the map hints what it expects each process to use in all.  Who is
 * expected to need the most yet has the CPUs first, until what remains is ordinary;
 * ordinary jobs then run to completion, oldest first.  A process without a hint takes
 * a place in the middle.  See scx_hints.bpf.h.  A hint counts from the next time on
 * that the process is queued or asks for another slice, which is within one epoch.
 *
 * With no long job left for last, the batch is done after about max(its longest job,
 * all of its work / CPUs), in whatever order it was started.
 *
 * Suits: many independent CPU-bound jobs of which a few are much longer, when what
 * counts is the end of the last one and when somebody can tell which are long.
 *
 * Does not suit: batches whose jobs are wanted one by one, as short ones wait for the
 * long ones (scx_batch is better then); hints that name the wrong jobs; and whatever
 * does not suit scx_batch.
 *
 * kfuncs: those of scx_fair.  Kernel 6.16 or later.
 */
#include "scx_batch_ops.bpf.h"
#include "scx_hints.bpf.h"

char _license[] SEC("license") = "GPL";

static u64 batch_rank(struct task_struct *p, struct fair_task *t, bool joins)
{
	return hint_order(p);
}

/* Also of threads that end without being ranked again. */
static void batch_charged(struct task_struct *p)
{
	hint_charge(p);
}

SEC(".struct_ops.link")
struct sched_ext_ops longest_ops = {
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
	.name = "scx_longest",
};
