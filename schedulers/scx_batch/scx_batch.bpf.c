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
 * Nobody may wait for long, though: a waiting task may hold a kernel lock that
 * others need, and after timeout_ms the kernel ejects the policy.  So every
 * waiting task gets a sip of sip_ns once per epoch.  An epoch is as long as it
 * takes for sips to use sip_percent of the CPUs, within limits.  The queue is in
 * order of
 *
 *	(epoch after the one it was queued in) << BATCH_ORDER_BITS | age of process
 *
 * While the head's epoch lies ahead, everybody has run in this epoch and the
 * queue is in order of age alone.  Once that epoch has begun, the head is due: it
 * has not run since before, so it sips, and is queued for the epoch after.  One
 * ordered queue is enough, no scans and no timers (a BPF timer dies with the last
 * descriptor of its map, while the policy may live on through its link).  Tasks
 * that others probably wait for count as due at once, see batch_holds_up().
 *
 * Suits: many independent CPU-bound jobs that all have to finish, above all when
 * one is much longer and started early: compression, encoding, test shards.
 *
 * Does not suit: jobs that wait for each other by spinning; a batch whose results
 * are wanted at an even pace; a long job that is started last; jobs that spend
 * most of their time in system calls or waiting for kernel locks (order is lost);
 * more than some 1000 waiting tasks per CPU (sips take all the time there is).
 * A task preempted in a page fault may still keep a lock for an epoch.  Hosts that use cpu.weight, cpu.max or cpu.idle, and large machines, as for
 * scx_fair.  Tasks of the batch that are pinned to one CPU count as the others.
 *
 * kfuncs: those of scx_fair.  Kernel 6.16 or later.
 */
#include "scx_fair_ops.bpf.h"

char _license[] SEC("license") = "GPL";

/* Target: cgroup v2 id (inode number of its directory), 0 for none. */
const volatile u64 batch_cgid = 0;
/* Target: depth of that cgroup, 0 for the root. */
const volatile u32 batch_level = 0;
/* Weight of the batch per CPU; a task of nice 0 has 1024. */
const volatile u64 batch_weight = 1024;
/* Run of the oldest tasks while nobody but the batch wants the CPU, in ns. */
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
u64 nr_batch_preempt;  /* ... cut short for an older one */
u64 nr_sips;	       /* ... taken because they were due */
u64 nr_epochs;	       /* rounds of such runs */
u64 nr_holders;	       /* ... queued ahead of all, as others may wait for them */
u64 nr_forced;	       /* picks of the batch out of turn: a task was late */

enum batch_const {
	BATCH_DSQ = 0x5e0000,
	BATCH_ORDER_BITS = 44,	/* 2.3 years of uptime at the unit of ... */
	BATCH_ORDER_SHIFT = 12, /* ... 4 us of start time */
};

static u64 batch_vtime;
static int rcu_nesting_base;
/* Epochs are shifted by BATCH_ORDER_BITS. */
static u64 epoch;
static u64 epoch_at;   /* when it began */
static u64 late_epoch; /* who was due in this one is late */
static u64 late_next;  /* the next late_epoch, late_ns after ... */
static u64 late_at;    /* ... this time */

/* What dispatch has to choose from. */
struct batch_head {
	u64 key;
	bool found;
	bool due;  /* its epoch has begun */
	bool late; /* ... long ago */
};

static __always_inline u64 batch_cpus(void)
{
	return nr_online ?: 1;
}

/* Membership is read anew each time: cgroup.procs moves do not call us. */
static bool batch_has(struct task_struct *p)
{
	struct cgroup *cgrp, *target = NULL;
	u64 at;

	if (!batch_cgid || fair_is_pinned(p) || (p->flags & SX_PF_KTHREAD))
		return false;
	cgrp = BPF_CORE_READ(p, cgroups, dfl_cgrp);
	if (!cgrp || BPF_CORE_READ(cgrp, level) < (int)batch_level)
		return false;
	at = (u64)cgrp + bpf_core_field_offset(struct cgroup, ancestors) +
	     batch_level * sizeof(target);
	if (bpf_probe_read_kernel(&target, sizeof(target), (void *)at) || !target)
		return false;
	return BPF_CORE_READ(target, kn, id) == batch_cgid;
}

static __always_inline u64 batch_order(struct task_struct *p)
{
	u64 start = BPF_CORE_READ(p, group_leader, start_boottime);

	return (start >> BATCH_ORDER_SHIFT) & ((1ULL << BATCH_ORDER_BITS) - 1);
}

static u64 batch_epoch_ns(void)
{
	u64 sips_ns = scx_bpf_dsq_nr_queued(BATCH_DSQ) * sip_ns / batch_cpus();
	u64 ns = sips_ns * 100 / (sip_percent ?: 1);

	return ns < epoch_min_ns ? epoch_min_ns : ns > epoch_max_ns ? epoch_max_ns : ns;
}

/* Begin the next epoch if it is time; one CPU does. */
static void batch_advance_epoch(void)
{
	u64 now = sx_now(), since = epoch_at;

	if ((s64)(now - since) < (s64)batch_epoch_ns() ||
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

/* Set the class of @p.  Leaving the batch means to start afresh among the others. */
static void batch_classify(struct task_struct *p, struct fair_task *t)
{
	bool batch = batch_has(p);

	if (t->batch && !batch)
		t->vtime = vtime_now;
	if (batch && !t->batch)
		t->order = batch_order(p);
	t->batch = batch;
}

static void batch_charge(struct task_struct *p, struct fair_task *t)
{
	u64 used;

	if (!t->batch) {
		fair_charge(p, t);
		return;
	}
	used = fair_used(p, t);
	__sync_fetch_and_add(&batch_vtime, fair_scale(used, batch_weight) / batch_cpus());
}

/* No CPU is idle: an older process takes that of the youngest one running. */
static void batch_preempt_youngest(struct task_struct *p, s32 cpu, u64 order)
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

static void batch_enqueue_task(struct task_struct *p, struct fair_task *t, u64 enq_flags)
{
	bool holds_up = batch_holds_up(p, t, enq_flags);
	u64 key = holds_up ? epoch : epoch + (1ULL << BATCH_ORDER_BITS) + t->order;

	if (holds_up)
		SX_COUNT(nr_holders);
	SX_COUNT(nr_batch_enqueued);
	t->on_line = 0;
	t->lock_sleep = 0;
	sx_insert_vtime(p, BATCH_DSQ, slice_ns, key, enq_flags);
	if (!fair_kick_idle(p) && (enq_flags & SX_ENQ_WAKEUP))
		batch_preempt_youngest(p, scx_bpf_task_cpu(p), holds_up ? 0 : t->order);
}

static void batch_find(s32 cpu, struct batch_head *head)
{
	u64 of;

	head->found = fair_peek(BATCH_DSQ, cpu, &head->key);
	if (!head->found)
		return;
	batch_advance_epoch();
	of = head->key >> BATCH_ORDER_BITS << BATCH_ORDER_BITS;
	head->due = !before(epoch, of);
	head->late = !before(late_epoch, of);
}

/* Whether the batch, which has something to run, goes before the fair class. */
static bool batch_goes_first(struct fair_cpu *c, struct batch_head *batch, bool fair_ready,
			     u64 fair_vtime)
{
	if (!fair_ready || before(batch_vtime, fair_vtime)) {
		c->forced = 0;
		return true;
	}
	/* Late: take every other turn, whatever the weights say. */
	c->forced = batch->late && !c->forced;
	if (c->forced)
		SX_COUNT(nr_forced);
	return c->forced;
}

static void batch_note_run(struct fair_cpu *c, struct fair_task *t)
{
	fair_note_run(c, batch_vtime, batch_weight * batch_cpus(), FAIR_RUN_YIELDING);
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
		       struct batch_head *head, bool fair_ready)
{
	u64 grant = fair_ready ? slice_ns : batch_slice_ns;
	u64 order = head->key & ((1ULL << BATCH_ORDER_BITS) - 1);
	bool older = prev && t && !head->due && !t->yielded && t->order < order;

	if (fair_ready)
		fair_advance(batch_vtime);
	else
		fair_clamp_lead(&batch_vtime, FAIR_WEIGHT_ONE);
	if (head->found && !older && sx_consume(BATCH_DSQ)) {
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

void SX_OPS(batch_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t) {
		sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
		return;
	}
	batch_classify(p, t);
	if (t->batch)
		batch_enqueue_task(p, t, enq_flags);
	else
		fair_enqueue(p, t, enq_flags);
}

void SX_OPS(batch_dispatch, s32 cpu, struct task_struct *prev)
{
	struct fair_task *t = NULL, *ft = NULL, *bt = NULL;
	struct fair_cpu *c = fair_cpu(cpu);
	struct batch_head batch = {};
	struct fair_head fair = {};
	bool fair_ready = false, batch_ready = false;

	if (!c)
		return;
	if (prev && fair_is_queued(prev))
		t = fair_task(prev);
	if (t) {
		batch_charge(prev, t);
		batch_classify(prev, t);
		batch_ready = t->batch;
		fair_ready = !t->batch;
		bt = t->batch ? t : NULL;
		ft = t->batch ? NULL : t;
	}
	/* Else the compiler tests pointers by or-ing them, which the verifier refuses. */
	barrier_var(fair_ready);
	barrier_var(batch_ready);

	fair_find(cpu, c, ft ? prev : NULL, ft, &fair);
	batch_find(cpu, &batch);
	fair_ready |= fair.dsq != 0;
	batch_ready |= batch.found;
	fair.contended |= batch_ready;

	if (batch_ready && batch_goes_first(c, &batch, fair_ready, fair_best(ft, &fair)) &&
	    batch_pick(c, bt ? prev : NULL, bt, &batch, fair_ready))
		return;
	if (fair_pick(cpu, c, ft ? prev : NULL, ft, &fair))
		return;
	batch_pick(c, bt ? prev : NULL, bt, &batch, false);
}

void SX_OPS(batch_runnable, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t)
		return;
	batch_classify(p, t);
	if (t->batch) {
		fair_load_sub(t);
		fair_clamp_lag(&batch_vtime);
	} else {
		fair_load_add(p, t);
		fair_wake(p, t, enq_flags);
	}
}

void SX_OPS(batch_running, struct task_struct *p)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));
	struct fair_task *t = fair_task(p);
	u64 grant;

	if (!t || !c)
		return;
	if (!t->batch) {
		fair_running(p, t, c);
		return;
	}
	t->ran_ns = p->se.sum_exec_runtime;
	t->yielded = 0;
	grant = c->grant_ns ?: batch_slice_ns;
	batch_note_run(c, t);
	sx_set_slice(p, grant);
}

void SX_OPS(batch_stopping, struct task_struct *p, bool runnable)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));
	struct fair_task *t = fair_task(p);

	if (t)
		batch_charge(p, t);
	if (c)
		c->run = FAIR_RUN_OTHER;
}

void SX_OPS(batch_quiescent, struct task_struct *p, u64 deq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t)
		return;
	fair_load_sub(t);
	t->lock_sleep = (deq_flags & SX_DEQ_SLEEP) && (p->__state & SX_TASK_UNINTERRUPTIBLE) &&
			!BPF_CORE_READ_BITFIELD_PROBED(p, in_iowait);
}

bool SX_OPS(batch_yield, struct task_struct *from, struct task_struct *to)
{
	struct fair_task *t = fair_task(from);

	if (!t || to)
		return false;
	if (t->batch) {
		t->yielded = 1;
		sx_set_slice(from, 0);
	} else {
		fair_yield(from, t);
	}
	return false;
}

void SX_OPS(batch_cpu_offline, s32 cpu)
{
	fair_cpu_offline(cpu);
	fair_drain(BATCH_DSQ, cpu);
}

s32 SX_OPS_SLEEPABLE(batch_init)
{
	s32 err = fair_init();

	if (err)
		return err;
	/* Attached again after a pause, the epochs go on where they were. */
	if (!epoch)
		epoch = 1ULL << BATCH_ORDER_BITS;
	rcu_nesting_base = 1 << 30;
	if (batch_cgid)
		load_extra = batch_weight * batch_cpus();
	return scx_bpf_create_dsq(BATCH_DSQ, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops batch_ops = {
	.select_cpu = (void *)fair_op_select_cpu,
	.enqueue = (void *)batch_enqueue,
	.dispatch = (void *)batch_dispatch,
	.runnable = (void *)batch_runnable,
	.running = (void *)batch_running,
	.stopping = (void *)batch_stopping,
	.quiescent = (void *)batch_quiescent,
	.yield = (void *)batch_yield,
	.cpu_release = (void *)fair_op_cpu_release,
	.cpu_online = (void *)fair_op_cpu_online,
	.cpu_offline = (void *)batch_cpu_offline,
	.enable = (void *)fair_op_enable,
	.disable = (void *)fair_op_disable,
	.init_task = (void *)fair_op_init_task,
	.exit_task = (void *)fair_op_exit_task,
	.init = (void *)batch_init,
	.exit = (void *)fair_op_exit,
	.timeout_ms = 30000,
	.name = "scx_batch",
};
