// SPDX-License-Identifier: GPL-2.0
/*
 * A group of tasks with queues of its own, which competes with the fair class as if
 * it were one task: it has a vtime, and a weight, 1024 as a task of nice 0, that
 * counts once per CPU.  While one of its tasks runs, it gives way to wake-ups of the
 * fair class.
 */
#ifndef SCX_GROUP_BPF_H
#define SCX_GROUP_BPF_H

#include "scx_fair_core.bpf.h"

u64 nr_forced; /* picks of the group out of turn: a task was late */

static u64 group_vtime;

/* What dispatch has to choose from in the group. */
struct group_head {
	s32 cpu; /* for this CPU */
	u64 dsq; /* where, if the group has more than one queue */
	u64 key;
	bool found;
	bool due;  /* it is time for it to run */
	bool late; /* ... for long */
};

static __always_inline u64 group_cpus(void)
{
	return nr_online ?: 1;
}

static void group_charge(struct task_struct *p, struct fair_task *t, u64 weight)
{
	u64 used = fair_used(p, t);

	__sync_fetch_and_add(&group_vtime,
			     fair_scale(used, weight << FAIR_WEIGHT_SHIFT) / group_cpus());
}

/* A task of the group becomes runnable; it may have been of the fair class before. */
static __always_inline void group_wake(struct fair_task *t)
{
	fair_load_sub(t);
	fair_clamp_lag(&group_vtime);
}

/* Whether the group, which has something to run, goes before the fair class. */
static bool group_goes_first(struct fair_cpu *c, bool late, bool fair_ready, u64 fair_vtime)
{
	if (!fair_ready || before(group_vtime, fair_vtime)) {
		c->forced = 0;
		return true;
	}
	/* Late: take every other turn, whatever the weights say. */
	c->forced = late && !c->forced;
	if (c->forced)
		SX_COUNT(nr_forced);
	return c->forced;
}

/* The group is given a CPU. */
static __always_inline void group_advance(bool fair_ready)
{
	if (fair_ready)
		fair_advance(group_vtime);
	else
		fair_clamp_lead(&group_vtime, FAIR_WEIGHT_ONE);
}

static void group_note_run(struct fair_cpu *c, u64 weight)
{
	fair_note_run(c, group_vtime, (weight << FAIR_WEIGHT_SHIFT) * group_cpus(),
		      FAIR_RUN_YIELDING);
}

static __always_inline void group_yield(struct task_struct *p, struct fair_task *t)
{
	t->yielded = 1;
	sx_set_slice(p, 0);
}

#endif /* SCX_GROUP_BPF_H */
