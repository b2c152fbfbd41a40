// SPDX-License-Identifier: GPL-2.0
/*
 * Weighted fair scheduling, shared by every policy that has a fair class.
 *
 * Each task has a virtual time: its CPU time * 1024 / its weight.  The task that
 * is furthest behind runs next.  Two kinds of queues, both in vtime order:
 *
 *   FAIR_DSQ_SHARED       tasks that may run on more than one CPU
 *   FAIR_DSQ_PINNED + n   tasks that may run on CPU n only
 *
 * Clocks.  vtime_now is the vtime of what was last picked while others waited;
 * it never goes back and never jumps by what a task is charged afterwards.
 * A CPU may have more pinned work than its share of the machine.  Its tasks then
 * fall behind vtime_now for good, so their common offset (fair_cpu.pin_off) is
 * moved along: they keep their distances, and nobody who comes later has to wait
 * until they have caught up.  Likewise a task that has had a CPU to itself is not
 * punished for that once others come (fair_clamp_lead).
 *
 * A running task is in no queue.  fair_pick() therefore charges it first and
 * compares it with the queues; taking the head blindly would cap every task at
 * half a CPU.
 */
#ifndef SCX_FAIR_CORE_BPF_H
#define SCX_FAIR_CORE_BPF_H

#include "scx_compat.bpf.h"

/*
 * Longest run while others wait, in ns.  The kernel enforces it at ticks: 3 ms
 * gives 3 ms at HZ=1000 and 4 ms at HZ=250, where 4 ms would mostly give 8.
 */
const volatile u64 slice_ns = 3000000;
/* A wake-up preempts a task that is ahead of it by more than this vtime, in ns. */
const volatile u64 preempt_gran_ns = 500000;
/* How many CPUs a wake-up looks at for one to preempt. */
const volatile u32 preempt_scan = 8;
/* No task is set back so far that it would wait longer than about this, in ns. */
const volatile u64 starve_ns = 8000000000;

u64 nr_enqueued;   /* tasks put in a shared or pinned queue */
u64 nr_dispatched; /* tasks taken from one */
u64 nr_direct;	   /* wake-ups sent straight to an idle CPU */
u64 nr_kept;	   /* running tasks that got another slice */
u64 nr_kthread;	   /* kernel threads sent straight to their CPU */
u64 nr_pinned;	   /* tasks put in a pinned queue */
u64 nr_preempt;	   /* running tasks cut short for a wake-up */
u64 nr_reenqueued; /* times a CPU was lost to a higher class */
u64 nr_online;	   /* CPUs online */

enum fair_const {
	FAIR_DSQ_SHARED = 0x5c0000,
	FAIR_DSQ_PINNED = 0x5d0000,
	FAIR_MAX_CPUS = 1024,
	FAIR_WEIGHT_ONE = 1024, /* weight of nice 0 */
	FAIR_WEIGHT_IDLE = 3,	/* weight of SCHED_IDLE */
	FAIR_PRIO_MIN = 100,	/* static_prio of nice -20 */
	FAIR_NR_PRIO = 40,
	FAIR_PEEK_MAX = 16, /* queued tasks looked at for one that may run here */
	FAIR_SCAN_MAX = 64,
	FAIR_LAG_SLICES = 2,  /* credit of a waking or pinned task */
	FAIR_LEAD_SLICES = 4, /* debt that outlives a time without competition */
};

/* What a CPU runs, as far as a wake-up is concerned. */
enum fair_run {
	FAIR_RUN_OTHER,	   /* nothing of ours, or a kernel thread: not to be preempted */
	FAIR_RUN_TASK,	   /* preempted if it is ahead by preempt_gran_ns */
	FAIR_RUN_YIELDING, /* of a class that gives way to wake-ups */
};

struct fair_task {
	u64 vtime;
	u64 ran_ns;	/* sum_exec_runtime at the last charge */
	u64 burst_ns;	/* CPU time since the last wake-up */
	u64 line_off;	/* pin_off when it was queued as pinned */
	u64 load;	/* what it adds to the load counters */
	u64 weight;	/* at the last time it became runnable */
	s32 load_cpu;	/* ... of this CPU, or -1 */
	u32 on_line;	/* queued as pinned since its last run */
	u32 yielded;	/* called sched_yield() in this slice */
	u32 batch;	/* of scx_batch's class */
	u64 order;	/* rank in that class */
	u32 holds;	/* runs in a row it got as a possible lock holder */
	u32 lock_sleep; /* it last slept where locks are waited for */
};

struct fair_cpu {
	u64 curr_vtime; /* vtime of the running task when it started ... */
	u64 curr_at;	/* ... at this time */
	u64 curr_weight;
	u64 curr_order;
	u64 pin_off;   /* added to the keys of the pinned queue */
	u64 load;      /* weight of the runnable pinned tasks */
	u64 grant_ns;  /* slice for the task just taken, 0 for the default */
	u32 run;       /* enum fair_run */
	u32 kicked;    /* a preemption is under way */
	u32 contended; /* the task just taken was picked over others */
	u32 forced;    /* scx_batch: the last pick went against vtime order */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct fair_task);
} fair_tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FAIR_MAX_CPUS);
	__type(key, u32);
	__type(value, struct fair_cpu);
} fair_cpus SEC(".maps");

static u64 vtime_now;
static u64 load_all;	/* weight of all runnable tasks of the fair class */
static u64 load_pinned; /* ... of those that are pinned */
static u64 load_extra;	/* ... of a competing class, as one entity */
static u32 nr_cpu_ids;

/* kernel/sched/core.c: sched_prio_to_weight; each step is about 1.25 times. */
static const u32 prio_to_weight[FAIR_NR_PRIO] = {
	88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
	9548,  7620,  6100,  4904,  3906,  3121,  2501,	 1991,	1586,  1277,
	1024,  820,   655,   526,   423,   335,	  272,	 215,	172,   137,
	110,   87,    70,    56,    45,	   36,	  29,	 23,	18,    15,
};

static __always_inline struct fair_task *fair_task(struct task_struct *p)
{
	return bpf_task_storage_get(&fair_tasks, p, NULL, 0);
}

static __always_inline struct fair_cpu *fair_cpu(s32 cpu)
{
	u32 key = cpu;

	return bpf_map_lookup_elem(&fair_cpus, &key);
}

static __always_inline bool before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

static __always_inline bool fair_is_pinned(struct task_struct *p)
{
	return p->nr_cpus_allowed == 1;
}

static __always_inline bool fair_is_queued(struct task_struct *p)
{
	return p->scx.flags & SX_TASK_QUEUED;
}

/* A kernel thread goes first, until it has used a whole slice in one go. */
static __always_inline bool fair_goes_first(struct task_struct *p, struct fair_task *t)
{
	return (p->flags & SX_PF_KTHREAD) && t->burst_ns < slice_ns;
}

static u64 fair_weight(struct task_struct *p)
{
	u32 i = p->static_prio - FAIR_PRIO_MIN;

	if (p->policy == SX_POLICY_IDLE)
		return FAIR_WEIGHT_IDLE;
	return i < FAIR_NR_PRIO ? prio_to_weight[i] : FAIR_WEIGHT_ONE;
}

static __always_inline u64 fair_scale(u64 ns, u64 weight)
{
	return ns * FAIR_WEIGHT_ONE / (weight ?: 1);
}

static __always_inline void fair_advance(u64 vtime)
{
	if (before(vtime_now, vtime))
		vtime_now = vtime;
}

static __always_inline void fair_clamp_lag(u64 *vtime)
{
	u64 min = vtime_now - FAIR_LAG_SLICES * slice_ns;

	if (before(*vtime, min))
		*vtime = min;
}

static __always_inline void fair_clamp_lead(u64 *vtime, u64 weight)
{
	u64 max = vtime_now + fair_scale(FAIR_LEAD_SLICES * slice_ns, weight);

	if (before(max, *vtime))
		*vtime = max;
}

/*
 * The kernel ejects the policy when a task waits for timeout_ms, however little
 * the task is entitled to: bound the vtime that separates it from its next run.
 */
static void fair_clamp_wait(struct fair_cpu *c, struct task_struct *p, u64 *vtime)
{
	u64 cpus = nr_online ?: 1, load = load_all + load_extra;
	u64 max;

	if (fair_is_pinned(p)) {
		load = c->load + (load - load_pinned) / cpus;
		cpus = 1;
	}
	max = vtime_now + fair_scale(starve_ns * cpus, load);
	if (before(max, *vtime))
		*vtime = max;
}

/* CPU time of @p since the last call. */
static u64 fair_used(struct task_struct *p, struct fair_task *t)
{
	u64 ran = p->se.sum_exec_runtime, used = ran - t->ran_ns;

	t->ran_ns = ran;
	t->burst_ns += used;
	return used;
}

static __always_inline void fair_charge(struct task_struct *p, struct fair_task *t)
{
	t->vtime += fair_scale(fair_used(p, t), fair_weight(p));
}

static void fair_load_sub(struct fair_task *t)
{
	u64 load = t->load;
	struct fair_cpu *c;

	if (!load)
		return;
	t->load = 0;
	__sync_fetch_and_sub(&load_all, load);
	if (t->load_cpu < 0)
		return;
	__sync_fetch_and_sub(&load_pinned, load);
	c = fair_cpu(t->load_cpu);
	if (c)
		__sync_fetch_and_sub(&c->load, load);
}

/* A debt run up at one weight is worth less vtime at a higher one. */
static void fair_reweight(struct fair_task *t, u64 weight)
{
	s64 lead = t->vtime - vtime_now;

	if (t->weight && t->weight != weight && lead > 0)
		t->vtime = vtime_now + (u64)lead * t->weight / weight;
	t->weight = weight;
}

static void fair_load_add(struct task_struct *p, struct fair_task *t)
{
	u64 load = fair_weight(p);
	struct fair_cpu *c;

	fair_load_sub(t);
	fair_reweight(t, load ?: 1);
	t->load = load;
	t->load_cpu = fair_is_pinned(p) ? scx_bpf_task_cpu(p) : -1;
	__sync_fetch_and_add(&load_all, load);
	if (t->load_cpu < 0)
		return;
	__sync_fetch_and_add(&load_pinned, load);
	c = fair_cpu(t->load_cpu);
	if (c)
		__sync_fetch_and_add(&c->load, load);
}

static __always_inline bool fair_kick_idle(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu < 0)
		return false;
	scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
	return true;
}

/* How much a wake-up at @vtime is entitled to the CPU of @c; <= 0: not at all. */
static s64 fair_excess(struct fair_cpu *c, u64 vtime, u64 now)
{
	s64 ran = now - c->curr_at, ahead;

	if (c->kicked || c->run == FAIR_RUN_OTHER)
		return 0;
	ahead = c->curr_vtime + fair_scale(ran > 0 ? ran : 0, c->curr_weight) - vtime;
	if (c->run == FAIR_RUN_YIELDING)
		return ahead >= 0 ? (s64)((1ULL << 62) + ahead) : 0;
	return ahead - (s64)preempt_gran_ns;
}

static __always_inline void fair_preempt(struct fair_cpu *c, s32 cpu)
{
	c->kicked = 1;
	SX_COUNT(nr_preempt);
	scx_bpf_kick_cpu(cpu, SX_KICK_PREEMPT);
}

/* A task woke up on @cpu and no CPU is idle: cut short the least entitled one. */
static void fair_preempt_any(struct task_struct *p, s32 cpu, u64 vtime)
{
	u64 now = sx_now();
	s64 best = 0;
	s32 target = -1, i;
	struct fair_cpu *c;

	bpf_for(i, 0, FAIR_SCAN_MAX) {
		s32 at = cpu + i < (s32)nr_cpu_ids ? cpu + i : cpu + i - (s32)nr_cpu_ids;
		s64 excess;

		if (i >= (s32)preempt_scan || i >= (s32)nr_cpu_ids)
			break;
		c = fair_cpu(at);
		if (!c || !bpf_cpumask_test_cpu(at, p->cpus_ptr))
			continue;
		excess = fair_excess(c, vtime, now);
		if (excess > best) {
			best = excess;
			target = at;
		}
	}
	c = fair_cpu(target);
	if (target >= 0 && c)
		fair_preempt(c, target);
}

/* ---- ops in lifecycle order ------------------------------------------------ */

static s32 fair_select_cpu(struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &idle);

	if (idle) {
		SX_COUNT(nr_direct);
		sx_insert(p, SX_DSQ_LOCAL, slice_ns, 0);
	}
	return cpu;
}

static __always_inline void fair_wake(struct task_struct *p, struct fair_task *t, u64 enq_flags)
{
	if (!(enq_flags & SX_ENQ_WAKEUP))
		return;
	t->burst_ns = 0;
	fair_clamp_lag(&t->vtime);
	fair_clamp_lead(&t->vtime, fair_weight(p));
}

static void fair_enqueue_kthread(struct task_struct *p, struct fair_cpu *c, u64 enq_flags)
{
	SX_COUNT(nr_kthread);
	if (c->run != FAIR_RUN_OTHER)
		enq_flags |= SX_ENQ_PREEMPT;
	sx_insert(p, SX_DSQ_LOCAL, slice_ns, enq_flags);
}

static void fair_enqueue_pinned(struct task_struct *p, struct fair_task *t, struct fair_cpu *c,
				s32 cpu, u64 enq_flags)
{
	SX_COUNT(nr_pinned);
	t->line_off = c->pin_off;
	t->on_line = 1;
	sx_insert_vtime(p, FAIR_DSQ_PINNED + cpu, slice_ns, t->vtime - c->pin_off, enq_flags);
	if (!fair_kick_idle(p) && (enq_flags & SX_ENQ_WAKEUP) &&
	    fair_excess(c, t->vtime, sx_now()) > 0)
		fair_preempt(c, cpu);
}

static void fair_enqueue(struct task_struct *p, struct fair_task *t, u64 enq_flags)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct fair_cpu *c = fair_cpu(cpu);

	t->on_line = 0;
	if (!c) {
		sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
		return;
	}
	if (fair_goes_first(p, t)) {
		fair_enqueue_kthread(p, c, enq_flags);
		return;
	}
	SX_COUNT(nr_enqueued);
	fair_clamp_wait(c, p, &t->vtime);
	if (fair_is_pinned(p)) {
		fair_enqueue_pinned(p, t, c, cpu, enq_flags);
		return;
	}
	sx_insert_vtime(p, FAIR_DSQ_SHARED, slice_ns, t->vtime, enq_flags);
	if (!fair_kick_idle(p) && (enq_flags & SX_ENQ_WAKEUP))
		fair_preempt_any(p, cpu, t->vtime);
}

/* Key of the first task of @dsq that may run on @cpu. */
static bool fair_peek(u64 dsq, s32 cpu, u64 *key)
{
	struct task_struct *p;
	bool found = false;
	u32 seen = 0;

	bpf_for_each(scx_dsq, p, dsq, 0) {
		*key = p->scx.dsq_vtime;
		/* Not found among so many: let the kernel search the rest. */
		if (bpf_cpumask_test_cpu(cpu, p->cpus_ptr) || ++seen >= FAIR_PEEK_MAX) {
			found = true;
			break;
		}
	}
	return found;
}

/* The best of the queues: .dsq is 0 if there is nothing for this CPU. */
struct fair_head {
	u64 dsq, vtime;
	bool contended; /* there is more behind it */
};

/* Bring a CPU's pinned tasks along with vtime_now; @run is a running one or NULL. */
static void fair_shift_line(struct fair_cpu *c, struct fair_task *run, bool queued, u64 *vtime)
{
	u64 low = run && (!queued || before(run->vtime, *vtime)) ? run->vtime : *vtime;
	s64 lag = vtime_now - FAIR_LAG_SLICES * slice_ns - low;

	if (lag <= 0)
		return;
	c->pin_off += lag;
	*vtime += lag;
	if (run)
		run->vtime += lag;
}

/* @prev is the running task if it is runnable and of the fair class, else NULL. */
static void fair_find(s32 cpu, struct fair_cpu *c, struct task_struct *prev, struct fair_task *t,
		      struct fair_head *head)
{
	struct fair_task *line = prev && t && fair_is_pinned(prev) ? t : NULL;
	u64 pinned_at = 0, shared_at = 0;
	bool pinned = fair_peek(FAIR_DSQ_PINNED + cpu, cpu, &pinned_at);
	bool shared = fair_peek(FAIR_DSQ_SHARED, cpu, &shared_at);

	pinned_at += c->pin_off;
	if (pinned || line)
		fair_shift_line(c, line, pinned, &pinned_at);
	head->dsq = 0;
	if (pinned && (!shared || !before(shared_at, pinned_at))) {
		head->dsq = FAIR_DSQ_PINNED + cpu;
		head->vtime = pinned_at;
	} else if (shared) {
		head->dsq = FAIR_DSQ_SHARED;
		head->vtime = shared_at;
	}
	head->contended =
		prev || (pinned && shared) || (head->dsq && scx_bpf_dsq_nr_queued(head->dsq) > 1);
}

/* The vtime at which the fair class wants the CPU; @t is of the running task or NULL. */
static __always_inline u64 fair_best(struct fair_task *t, struct fair_head *head)
{
	if (t && (!head->dsq || before(t->vtime, head->vtime)))
		return t->vtime;
	return head->vtime;
}

static void fair_note_run(struct fair_cpu *c, u64 vtime, u64 weight, u32 run)
{
	c->curr_vtime = vtime;
	c->curr_weight = weight;
	c->curr_at = sx_now();
	c->kicked = 0;
	c->contended = 0;
	c->grant_ns = 0;
	c->run = run;
}

static __always_inline u32 fair_run(struct task_struct *p, struct fair_task *t)
{
	return fair_goes_first(p, t) ? FAIR_RUN_OTHER : FAIR_RUN_TASK;
}

static void fair_keep(struct fair_cpu *c, struct task_struct *prev, struct fair_task *t,
		      bool contended)
{
	u64 weight = fair_weight(prev);

	SX_COUNT(nr_kept);
	if (contended)
		fair_advance(t->vtime);
	else
		fair_clamp_lead(&t->vtime, weight);
	fair_clamp_lag(&t->vtime);
	t->yielded = 0;
	fair_note_run(c, t->vtime, weight, fair_run(prev, t));
	sx_set_slice(prev, slice_ns);
}

/* Take the head, or whatever has come since.  Another CPU may be faster. */
static bool fair_take(s32 cpu, struct fair_cpu *c, struct fair_head *head)
{
	c->contended = head->contended;
	if (sx_consume(head->dsq)) {
		if (head->contended)
			fair_advance(head->vtime);
		SX_COUNT(nr_dispatched);
		return true;
	}
	if (sx_consume(FAIR_DSQ_SHARED) || sx_consume(FAIR_DSQ_PINNED + cpu)) {
		SX_COUNT(nr_dispatched);
		return true;
	}
	return false;
}

/* Give the CPU to the fairest choice.  @prev must have been charged. */
static bool fair_pick(s32 cpu, struct fair_cpu *c, struct task_struct *prev, struct fair_task *t,
		      struct fair_head *head)
{
	bool ahead = prev && t && head->dsq && !t->yielded && before(t->vtime, head->vtime);

	if (head->dsq && !ahead && fair_take(cpu, c, head))
		return true;
	if (!prev || !t)
		return false;
	fair_keep(c, prev, t, head->dsq);
	return true;
}

static void fair_running(struct task_struct *p, struct fair_task *t, struct fair_cpu *c)
{
	u64 weight = fair_weight(p);

	t->ran_ns = p->se.sum_exec_runtime;
	t->yielded = 0;
	if (t->on_line) {
		t->vtime += c->pin_off - t->line_off;
		t->on_line = 0;
	}
	if (!c->contended)
		fair_clamp_lead(&t->vtime, weight);
	fair_note_run(c, t->vtime, weight, fair_run(p, t));
	/* The kernel's own insertions come with its default slice, 20 ms. */
	if (p->scx.slice > slice_ns)
		sx_set_slice(p, slice_ns);
}

/* Let the others go first once, without losing more than the head start. */
static void fair_yield(struct task_struct *p, struct fair_task *t)
{
	fair_charge(p, t);
	if (before(t->vtime, vtime_now))
		t->vtime = vtime_now;
	t->yielded = 1;
	sx_set_slice(p, 0);
}

static __always_inline void fair_enable(struct task_struct *p, struct fair_task *t)
{
	t->vtime = vtime_now;
	t->ran_ns = p->se.sum_exec_runtime;
}

static __always_inline s32 fair_init_task(struct task_struct *p)
{
	struct fair_task *t;

	t = bpf_task_storage_get(&fair_tasks, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!t)
		return -SX_ENOMEM;
	t->load = t->on_line = 0; /* as in fair_init() */
	return 0;
}

/*
 * The kernel does not dispatch on a CPU that goes away, and waits for its tasks:
 * hand them to it, so that it can push them off one by one.
 */
static void fair_drain(u64 dsq, s32 cpu)
{
	struct task_struct *p;

	bpf_for_each(scx_dsq, p, dsq, 0) {
		if (scx_bpf_task_cpu(p) == cpu)
			sx_dsq_move(SX_FOR_EACH_ITER, p, SX_DSQ_LOCAL_ON | cpu, 0);
	}
}

static void fair_cpu_offline(s32 cpu)
{
	__sync_fetch_and_sub(&nr_online, 1);
	fair_drain(FAIR_DSQ_PINNED + cpu, cpu);
	fair_drain(FAIR_DSQ_SHARED, cpu);
}

static s32 fair_init(void)
{
	const struct cpumask *online;
	s32 cpu, err;

	nr_cpu_ids = scx_bpf_nr_cpu_ids();
	if (nr_cpu_ids > FAIR_MAX_CPUS)
		return -SX_E2BIG;
	err = scx_bpf_create_dsq(FAIR_DSQ_SHARED, -1);
	if (err)
		return err;
	/* The object may be attached again after a pause in which tasks came and went. */
	nr_online = load_all = load_pinned = 0;
	online = scx_bpf_get_online_cpumask();
	bpf_for(cpu, 0, FAIR_MAX_CPUS) {
		struct fair_cpu *c = fair_cpu(cpu);

		if (!c || cpu >= (s32)nr_cpu_ids)
			break;
		__builtin_memset(c, 0, sizeof(*c));
		err = scx_bpf_create_dsq(FAIR_DSQ_PINNED + cpu, -1);
		if (err)
			break;
		if (bpf_cpumask_test_cpu(cpu, online))
			nr_online++;
	}
	scx_bpf_put_cpumask(online);
	return err;
}

#endif /* SCX_FAIR_CORE_BPF_H */
