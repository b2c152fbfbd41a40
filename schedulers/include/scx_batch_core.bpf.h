// SPDX-License-Identifier: GPL-2.0
/*
 * A batch: tasks that run in a given order, most of them to completion, while to
 * the fair class all of them together are one competitor.
 *
 * The policy decides who is in the batch (fair_task.batch) and in which order they
 * run (fair_task.order, less goes first, BATCH_ORDER_BITS wide); it sets both before
 * it calls in here.  Threads of the same order take turns.  Beside scx_group.bpf.h,
 * it then calls
 *
 *	batch_init_core()	from init, after fair_init()
 *	batch_enqueue_task()	instead of fair_enqueue()
 *	batch_find()		in dispatch, beside fair_find(); then, if
 *	group_goes_first()	... says so,
 *	batch_pick()		... instead of fair_pick()
 *	batch_running()		instead of fair_running()
 *	batch_charge()		for CPU time, instead of fair_charge()
 *	group_wake()		when a task becomes runnable, instead of fair_wake()
 *	batch_sleep()		when a task stops being runnable
 *	group_yield()		instead of fair_yield()
 *	batch_cpu_offline()	when a CPU goes offline, after fair_cpu_offline()
 *
 * Nobody may wait for long, though: a waiting task may hold a kernel lock that
 * others need, and after timeout_ms the kernel ejects the policy.  So every
 * waiting task gets a sip of sip_ns once per epoch.  An epoch is as long as it
 * takes for sips to use sip_percent of the CPUs, within limits.  The queue is in
 * order of
 *
 *	(epoch after the one it was queued in) << BATCH_ORDER_BITS | order
 *
 * While the head's epoch lies ahead, everybody has run in this epoch and the
 * queue is in that order alone.  Once that epoch has begun, the head is due: it
 * has not run since before, so it sips, and is queued for the epoch after.  One
 * ordered queue is enough, no scans and no timers (a BPF timer dies with the last
 * descriptor of its map, while the policy may live on through its link).  Tasks
 * that others probably wait for count as due at once, see batch_holds_up().
 */
#ifndef SCX_BATCH_CORE_BPF_H
#define SCX_BATCH_CORE_BPF_H

#include "scx_group.bpf.h"

#ifndef BATCH_WEIGHT
/* Weight of the batch per CPU; a task of nice 0 has 1024. */
const volatile u64 batch_weight = 1024;
#define BATCH_WEIGHT(t) batch_weight
#endif
/* Run of the first tasks in order while nobody but the batch wants the CPU, in ns. */
const volatile u64 batch_slice_ns = 20000000;
/* A waiting task of the batch runs for this long once per epoch, in ns.  See slice_ns. */
const volatile u64 sip_ns = 3000000;
/* An epoch is as long as it takes for this to use so many per cent of the CPUs ... */
const volatile u32 sip_percent = 5;
/* ... but not shorter and not longer than this, in ns. */
const volatile u64 epoch_min_ns = 1000000000;
const volatile u64 epoch_max_ns = 4000000000;
/* A task in a system call may go on for this many such runs, to get out of it. */
const volatile u32 hold_sips = 8;
/* Who is due for longer than one or two of these runs whatever the weights, in ns. */
const volatile u64 late_ns = 6000000000;

u64 nr_batch_enqueued; /* tasks of the batch put in its queue */
u64 nr_batch_runs;     /* ... taken from it, other than for a sip */
u64 nr_batch_kept;     /* ... that got another slice */
u64 nr_batch_preempt;  /* ... cut short for one that goes before */
u64 nr_sips;	       /* ... taken because they were due */
u64 nr_epochs;	       /* rounds of such runs */
u64 nr_holders;	       /* ... queued ahead of all, as others may wait for them */

enum batch_const {
	BATCH_DSQ = 0x5e0000,	/* + domain */
	BATCH_ORDER_BITS = 44,	/* 2.3 years of uptime at the unit of ... */
	BATCH_ORDER_SHIFT = 12, /* ... 4 us of start time */
};

static int rcu_nesting_base;
/* Epochs are shifted by BATCH_ORDER_BITS. */
static u64 epoch;
static u64 epoch_at;   /* when it began */
static u64 late_epoch; /* who was due in this one is late */
static u64 late_next;  /* the next late_epoch, late_ns after ... */
static u64 late_at;    /* ... this time */

/* The order of a process among others: oldest first. */
static __always_inline u64 batch_age_order(struct task_struct *p)
{
	u64 start = BPF_CORE_READ(p, group_leader, start_boottime);

	return (start >> BATCH_ORDER_SHIFT) & ((1ULL << BATCH_ORDER_BITS) - 1);
}

static u64 batch_epoch_ns(struct fair_cpu *c)
{
	u64 queued = scx_bpf_dsq_nr_queued(BATCH_DSQ + fair_domain(c)) * FAIR_DOMAINS();
	u64 sips_ns = queued * sip_ns / group_cpus();
	u64 ns = sips_ns * 100 / (sip_percent ?: 1);

	return ns < epoch_min_ns ? epoch_min_ns : ns > epoch_max_ns ? epoch_max_ns : ns;
}

/* Begin the next epoch if it is time; one CPU does. */
static void batch_advance_epoch(struct fair_cpu *c)
{
	u64 now = sx_now(), since = epoch_at;

	if ((s64)(now - since) < (s64)batch_epoch_ns(c) ||
	    __sync_val_compare_and_swap(&epoch_at, since, now) != since)
		return;
	__sync_fetch_and_add(&epoch, 1ULL << BATCH_ORDER_BITS);
	SX_COUNT(nr_epochs);
	if ((s64)(now - late_at) < (s64)late_ns)
		return;
	late_at = now;
	late_epoch = late_next;
	late_next = epoch;
}

static __always_inline void batch_charge(struct task_struct *p, struct fair_task *t)
{
	group_charge(p, t, BATCH_WEIGHT(t));
}

/* No CPU is idle: a task takes that of the last in order that is running. */
static void batch_preempt_last(struct task_struct *p, s32 cpu, u64 order)
{
	s32 target = -1, i;
	struct fair_cpu *c;

	bpf_for(i, 0, FAIR_SCAN_MAX) {
		s32 at = cpu + i < (s32)nr_cpu_ids ? cpu + i : cpu + i - (s32)nr_cpu_ids;

		if (i >= (s32)preempt_scan || i >= (s32)nr_cpu_ids)
			break;
		c = fair_cpu(at);
		if (!c || c->run != FAIR_RUN_YIELDING || c->kicked || c->curr_order <= order ||
		    !bpf_cpumask_test_cpu(at, p->cpus_ptr))
			continue;
		order = c->curr_order;
		target = at;
	}
	c = fair_cpu(target);
	if (target >= 0 && c) {
		SX_COUNT(nr_batch_preempt);
		fair_preempt(c, target);
	}
}

/*
 * RCU readers hold up everybody's grace periods.  A task that is put back runs
 * this code itself, and the call has read sections of its own: the smallest
 * nesting ever seen.
 */
static bool batch_reads_rcu(struct task_struct *p)
{
	int nesting;

	if (!bpf_core_field_exists(p->rcu_read_lock_nesting))
		return false;
	nesting = p->rcu_read_lock_nesting;
	if (bpf_get_current_task() != (u64)p)
		return nesting > 0;
	if (nesting < rcu_nesting_base)
		rcu_nesting_base = nesting;
	return nesting > rcu_nesting_base;
}

/*
 * Whether others may be waiting for @p: an RCU reader, a task preempted inside a
 * system call (within reason, some do little else), or one woken from where tasks
 * wait for kernel locks, as it is likely to be the lock's next owner.
 */
static bool batch_holds_up(struct task_struct *p, struct fair_task *t, u64 enq_flags)
{
	bool woken = enq_flags & SX_ENQ_WAKEUP;

	if (batch_reads_rcu(p) || (woken && t->lock_sleep))
		return true;
	if (!woken && t->holds < hold_sips && sx_in_syscall(p)) {
		t->holds++;
		return true;
	}
	t->holds = 0;
	return false;
}

/* The place in the queue of one that nobody waits for. */
static __always_inline u64 batch_key(struct fair_task *t)
{
	return epoch + (1ULL << BATCH_ORDER_BITS) + t->order;
}

static void batch_enqueue_task(struct task_struct *p, struct fair_task *t, u64 enq_flags)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));
	bool holds_up = batch_holds_up(p, t, enq_flags);
	u64 key = holds_up ? epoch : batch_key(t);

	if (holds_up)
		SX_COUNT(nr_holders);
	SX_COUNT(nr_batch_enqueued);
	t->on_line = 0;
	t->lock_sleep = 0;
	sx_insert_vtime(p, BATCH_DSQ + (c ? fair_domain(c) : 0), slice_ns, key, enq_flags);
	if (!fair_kick_idle(p) && (enq_flags & SX_ENQ_WAKEUP))
		batch_preempt_last(p, scx_bpf_task_cpu(p), holds_up ? 0 : t->order);
}

static void batch_find(struct fair_cpu *c, struct group_head *head)
{
	struct fair_search best = { .dsq = BATCH_DSQ };
	u64 of;

	fair_search(head->cpu, c, &best);
	head->found = best.found;
	if (!head->found)
		return;
	head->dsq = best.dsq;
	head->key = best.key;
	batch_advance_epoch(c);
	of = head->key >> BATCH_ORDER_BITS << BATCH_ORDER_BITS;
	head->due = !before(epoch, of);
	head->late = !before(late_epoch, of);
}

static void batch_note_run(struct fair_cpu *c, struct fair_task *t)
{
	group_note_run(c, BATCH_WEIGHT(t));
	c->curr_order = t->order;
}

static __always_inline void batch_keep(struct fair_cpu *c, struct task_struct *prev,
				       struct fair_task *t, u64 grant_ns)
{
	SX_COUNT(nr_batch_kept);
	t->yielded = 0;
	batch_note_run(c, t);
	sx_set_slice(prev, grant_ns);
}

/* Run the batch on this CPU; @prev is the running task if it is of the batch. */
static bool batch_pick(struct fair_cpu *c, struct task_struct *prev, struct fair_task *t,
		       struct group_head *head, bool fair_ready)
{
	u64 grant = fair_ready ? slice_ns : batch_slice_ns;
	u64 order = head->key & ((1ULL << BATCH_ORDER_BITS) - 1);
	bool older = prev && t && !head->due && !t->yielded && t->order < order;

	group_advance(fair_ready);
	if (head->found && !older && sx_consume(head->dsq)) {
		c->contended = 1;
		c->grant_ns = head->due ? sip_ns : grant;
		if (head->due)
			SX_COUNT(nr_sips);
		else
			SX_COUNT(nr_batch_runs);
		return true;
	}
	if (!prev || !t)
		return false;
	batch_keep(c, prev, t, grant);
	return true;
}

static void batch_running(struct task_struct *p, struct fair_task *t, struct fair_cpu *c)
{
	u64 grant = c->grant_ns ?: batch_slice_ns;

	t->ran_ns = p->se.sum_exec_runtime;
	t->yielded = 0;
	batch_note_run(c, t);
	sx_set_slice(p, grant);
}

/* @p of any class stops being runnable: note whether it waits for a kernel lock. */
static __always_inline void batch_sleep(struct task_struct *p, struct fair_task *t, u64 deq_flags)
{
	t->lock_sleep = (deq_flags & SX_DEQ_SLEEP) && (p->__state & SX_TASK_UNINTERRUPTIBLE) &&
			!BPF_CORE_READ_BITFIELD_PROBED(p, in_iowait);
}

/* After fair_init(). */
static s32 batch_init_core(void)
{
	/* Attached again after a pause, the epochs go on where they were. */
	if (!epoch)
		epoch = 1ULL << BATCH_ORDER_BITS;
	rcu_nesting_base = 1 << 30;
	return fair_create_queues(BATCH_DSQ);
}

/* After fair_cpu_offline(). */
static void batch_cpu_offline(s32 cpu)
{
	struct fair_cpu *c = fair_cpu(cpu);

	if (c)
		fair_drain(BATCH_DSQ + fair_domain(c), cpu);
}

#endif /* SCX_BATCH_CORE_BPF_H */
