// SPDX-License-Identifier: GPL-2.0
/*
 * The ops of a policy for one cgroup: its tasks are a group, which competes with the
 * fair class of all others (scx_group.bpf.h).  What happens inside the group is up to
 * the policy, which defines the functions declared below.
 */
#ifndef SCX_TARGET_OPS_BPF_H
#define SCX_TARGET_OPS_BPF_H

#include "scx_choose.bpf.h"
#include "scx_fair_ops.bpf.h"
#include "scx_target.bpf.h"

/* Whether @p is of the group; see target_has(). */
static bool target_is_member(struct task_struct *p);
/* @p, which joins the group now or is of it, is about to wait or has used up a slice. */
static void target_rank(struct task_struct *p, struct fair_task *t, bool joins);
static void target_charge(struct task_struct *p, struct fair_task *t);
/* @p of the group does as the op of that name says. */
static void target_runnable(struct task_struct *p, struct fair_task *t, u64 enq_flags);
static void target_enqueue(struct task_struct *p, struct fair_task *t, u64 enq_flags);
static void target_running(struct task_struct *p, struct fair_task *t, struct fair_cpu *c);
/* @p of any class does. */
static void target_quiescent(struct task_struct *p, struct fair_task *t, u64 deq_flags);
static void target_cpu_offline(s32 cpu);
/* After fair_init(). */
static s32 target_init(void);

/* Set the class of @p.  Leaving the group means to start afresh among the others. */
static void target_classify(struct task_struct *p, struct fair_task *t)
{
	bool member = target_is_member(p);

	if (t->batch && !member)
		t->vtime = vtime_now;
	if (member)
		target_rank(p, t, !t->batch);
	t->batch = member;
}

static void target_charge_any(struct task_struct *p, struct fair_task *t)
{
	if (t->batch)
		target_charge(p, t);
	else
		fair_charge(p, t);
}

void SX_OPS(target_op_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t) {
		sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
		return;
	}
	target_classify(p, t);
	if (t->batch)
		target_enqueue(p, t, enq_flags);
	else
		fair_enqueue(p, t, enq_flags);
}

void SX_OPS(target_op_dispatch, s32 cpu, struct task_struct *prev)
{
	struct fair_cpu *c = fair_cpu(cpu);
	struct fair_task *t = NULL;

	if (!c)
		return;
	if (prev && fair_is_queued(prev))
		t = fair_task(prev);
	if (t) {
		target_charge_any(prev, t);
		target_classify(prev, t);
	}
	target_choose(cpu, c, prev, t);
}

void SX_OPS(target_op_runnable, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t)
		return;
	target_classify(p, t);
	if (t->batch) {
		group_wake(t);
		target_runnable(p, t, enq_flags);
	} else {
		fair_load_add(p, t);
		fair_wake(p, t, enq_flags);
	}
}

void SX_OPS(target_op_running, struct task_struct *p)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));
	struct fair_task *t = fair_task(p);

	if (!t || !c)
		return;
	if (t->batch)
		target_running(p, t, c);
	else
		fair_running(p, t, c);
}

void SX_OPS(target_op_stopping, struct task_struct *p, bool runnable)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));
	struct fair_task *t = fair_task(p);

	if (t)
		target_charge_any(p, t);
	if (c)
		c->run = FAIR_RUN_OTHER;
}

void SX_OPS(target_op_quiescent, struct task_struct *p, u64 deq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t)
		return;
	fair_load_sub(t);
	target_quiescent(p, t, deq_flags);
}

bool SX_OPS(target_op_yield, struct task_struct *from, struct task_struct *to)
{
	struct fair_task *t = fair_task(from);

	if (!t || to)
		return false;
	if (t->batch)
		group_yield(from, t);
	else
		fair_yield(from, t);
	return false;
}

void SX_OPS(target_op_cpu_offline, s32 cpu)
{
	fair_cpu_offline(cpu);
	target_cpu_offline(cpu);
}

s32 SX_OPS_SLEEPABLE(target_op_init)
{
	s32 err = fair_init();

	if (err)
		return err;
	return target_init();
}

#endif /* SCX_TARGET_OPS_BPF_H */
