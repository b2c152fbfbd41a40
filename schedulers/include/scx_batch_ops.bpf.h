// SPDX-License-Identifier: GPL-2.0
/*
 * A policy for one cgroup that is run as a batch.  What is left to the policy is the
 * order and the ops struct.
 */
#ifndef SCX_BATCH_OPS_BPF_H
#define SCX_BATCH_OPS_BPF_H

#include "scx_batch_core.bpf.h"
#include "scx_target_ops.bpf.h"

/* Target: cgroup v2 id (inode number of its directory), 0 for none. */
const volatile u64 batch_cgid = 0;
/* Target: depth of that cgroup, 0 for the root. */
const volatile u32 batch_level = 0;

/* The order of @p in the batch, as of now; @joins: it has none yet. */
static u64 batch_rank(struct task_struct *p, struct fair_task *t, bool joins);
/* @p of the batch has used CPU time. */
static void batch_charged(struct task_struct *p);

static bool target_is_member(struct task_struct *p)
{
	return target_has(p, batch_cgid, batch_level);
}

static void target_rank(struct task_struct *p, struct fair_task *t, bool joins)
{
	t->order = batch_rank(p, t, joins);
}

static void target_charge(struct task_struct *p, struct fair_task *t)
{
	batch_charge(p, t);
	batch_charged(p);
}

static void target_runnable(struct task_struct *p, struct fair_task *t, u64 enq_flags)
{
}

static void target_enqueue(struct task_struct *p, struct fair_task *t, u64 enq_flags)
{
	batch_enqueue_task(p, t, enq_flags);
}

static void target_running(struct task_struct *p, struct fair_task *t, struct fair_cpu *c)
{
	batch_running(p, t, c);
}

static void target_quiescent(struct task_struct *p, struct fair_task *t, u64 deq_flags)
{
	batch_sleep(p, t, deq_flags);
}

static void target_find(struct fair_cpu *c, struct group_head *head)
{
	batch_find(c, head);
}

static bool target_pick(struct fair_cpu *c, struct task_struct *prev, struct fair_task *t,
			struct group_head *head, bool fair_ready)
{
	return batch_pick(c, prev, t, head, fair_ready);
}

static void target_cpu_offline(s32 cpu)
{
	batch_cpu_offline(cpu);
}

static s32 target_init(void)
{
	if (batch_cgid)
		load_extra = batch_weight * group_cpus();
	return batch_init_core();
}

#endif /* SCX_BATCH_OPS_BPF_H */
