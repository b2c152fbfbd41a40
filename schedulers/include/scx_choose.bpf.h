// SPDX-License-Identifier: GPL-2.0
/*
 * Who gets a CPU: the fair class, or the group that competes with it.  The policy
 * defines the two functions declared below.
 */
#ifndef SCX_CHOOSE_BPF_H
#define SCX_CHOOSE_BPF_H

#include "scx_group.bpf.h"

/* What there is for head->cpu in the queues of the group. */
static void target_find(struct fair_cpu *c, struct group_head *head);
/* Run the group on this CPU; @prev is the running task if it is of the group. */
static bool target_pick(struct fair_cpu *c, struct task_struct *prev, struct fair_task *t,
			struct group_head *head, bool fair_ready);

/* In dispatch.  @t is of the running task, which may go on and was charged, or NULL. */
static void target_choose(s32 cpu, struct fair_cpu *c, struct task_struct *prev,
			  struct fair_task *t)
{
	struct fair_task *ft = NULL, *gt = NULL;
	struct group_head group = { .cpu = cpu };
	struct fair_head fair = {};
	bool fair_ready = false, group_ready = false;

	if (t) {
		group_ready = t->batch;
		fair_ready = !t->batch;
		gt = t->batch ? t : NULL;
		ft = t->batch ? NULL : t;
	}
	/* Else the compiler tests pointers by or-ing them, which the verifier refuses. */
	barrier_var(fair_ready);
	barrier_var(group_ready);

	fair_find(cpu, c, ft ? prev : NULL, ft, &fair);
	target_find(c, &group);
	fair_ready |= fair.dsq != 0;
	group_ready |= group.found;
	fair.contended |= group_ready;

	if (group_ready && group_goes_first(c, group.late, fair_ready, fair_best(ft, &fair)) &&
	    target_pick(c, gt ? prev : NULL, gt, &group, fair_ready))
		return;
	if (fair_pick(cpu, c, ft ? prev : NULL, ft, &fair))
		return;
	target_pick(c, gt ? prev : NULL, gt, &group, false);
}

#endif /* SCX_CHOOSE_BPF_H */
