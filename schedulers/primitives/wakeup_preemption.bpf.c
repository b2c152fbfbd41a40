// SPDX-License-Identifier: GPL-2.0
/*
 * Wake-ups that take an idle CPU or preempt a running task.
 *
 * fair_select_cpu sends a task that wakes up straight to an idle CPU. Where none
 * is idle, fair_preempt_any looks at preempt_scan CPUs and cuts short the running
 * task that is furthest ahead of the one that woke up, by a kick with preemption.
 *
 * Use: tasks that sleep and must run promptly when they wake up, beside CPU-bound
 * ones.
 *
 * Needs: scx_fair_core.bpf.h, and fair_running from running, so that it is known
 * what each CPU runs.
 *
 * Not for: work that gains from long undisturbed turns: a larger preempt_gran_ns
 * preempts less.
 */
#include "scx_fair_core.bpf.h"

char _license[] SEC("license") = "GPL";

s32 SX_OPS(example_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return fair_select_cpu(p, prev_cpu, wake_flags);
}

void SX_OPS(example_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (t && (enq_flags & SX_ENQ_WAKEUP))
		fair_preempt_any(p, scx_bpf_task_cpu(p), t->vtime);
	sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
}

void SX_OPS(example_running, struct task_struct *p)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));
	struct fair_task *t = fair_task(p);

	if (t && c)
		fair_running(p, t, c);
}
