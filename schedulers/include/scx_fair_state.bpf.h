// SPDX-License-Identifier: GPL-2.0
/*
 * Weighted fair scheduling, shared by every policy that has a fair class.
 *
 * Each task has a virtual time: its CPU time * 1024 / its weight.  The task that
 * is furthest behind runs next.  Two kinds of queues, both in vtime order:
 *
 *   FAIR_DSQ_SHARED + d   tasks that may run on more than one CPU
 *   FAIR_DSQ_PINNED + n   tasks that may run on CPU n only
 *
 * A domain (d) is the set of CPUs that share a queue, and with it a lock: all of
 * them, or with FAIR_BY_LLC those that share a last-level cache.  A CPU then takes
 * from another domain what is much further behind than all that waits in its own,
 * and whatever there is when its own has nothing.
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
 *
 * A policy may define, before it includes this:
 *
 *   FAIR_BY_LLC             one queue for each last-level cache
 *   FAIR_FUNCTION           static, or __noinline for a policy so large that the kernel's
 *                           verifier had better look at some functions on their own
 *   FAIR_WEIGHT_SHIFT       so many more bits in weights
 *   FAIR_WEIGHT_OF(p, t)    the weight of a task, if not that of its nice value
 *   FAIR_SLICE_OF(t)        its longest run while others wait, if not slice_ns
 *   FAIR_LOAD()             the weight of all that wants CPUs, if not load_all
 *   FAIR_MAY_RUN(p)         whether a task that wakes up may run at once
 *   FAIR_KICK_IDLE(p)       wakes an idle CPU for a task that was queued; whether it did
 *   FAIR_SELECT_CPU(p, cpu, flags)  the CPU of a task that wakes up, as the op does
 */
#ifndef SCX_FAIR_STATE_BPF_H
#define SCX_FAIR_STATE_BPF_H

#include "scx_compat.bpf.h"

#ifndef FAIR_FUNCTION
#define FAIR_FUNCTION static
#endif
#ifndef FAIR_WEIGHT_SHIFT
#define FAIR_WEIGHT_SHIFT 0
#endif
#ifndef FAIR_WEIGHT_OF
#define FAIR_WEIGHT_OF(p, t) fair_weight(p)
#endif
#ifndef FAIR_SLICE_OF
#define FAIR_SLICE_OF(t) slice_ns
#endif
#ifndef FAIR_MAY_RUN
#define FAIR_MAY_RUN(p) true
#endif
#ifndef FAIR_KICK_IDLE
#define FAIR_KICK_IDLE(p) fair_kick_idle(p)
#endif
#ifndef FAIR_SELECT_CPU
#define FAIR_SELECT_CPU(p, cpu, flags) fair_select_cpu(p, cpu, flags)
#endif
#ifndef FAIR_LOAD
#define FAIR_LOAD() (load_all + load_extra)
#endif

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
	FAIR_MAX_DOMAINS = 64,
	FAIR_WEIGHT_ONE = 1024 << FAIR_WEIGHT_SHIFT, /* weight of nice 0 */
	FAIR_WEIGHT_IDLE = 3,			     /* weight of SCHED_IDLE */
	FAIR_PRIO_MIN = 100,			     /* static_prio of nice -20 */
	FAIR_NR_PRIO = 40,
	FAIR_PEEK_MAX = 16, /* queued tasks looked at for one that may run here */
	FAIR_SCAN_MAX = 64,
	FAIR_LAG_SLICES = 2,   /* credit of a waking or pinned task */
	FAIR_LEAD_SLICES = 4,  /* debt that outlives a time without competition */
	FAIR_STEAL_TURNS = 4,  /* of so many looks one is at another domain ... */
	FAIR_STEAL_SLICES = 4, /* ... where a task this much further behind is taken */
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
	u32 cg;		/* scx_cgroups.bpf.h: slot of its cgroup */
	u64 joined;	/* ... what it adds to that cgroup's load */
	u64 eff;	/* ... its weight in the whole machine */
	u64 release;	/* ... when cpu.max lets it run, 0 for now */
	u64 parked_at;	/* ... and when it was parked */
	u32 parked;	/* ... it is parked */
	u32 cg_known;	/* ... cg is set */
	u32 factor;	/* ... a part of its weight, in CG_FACTOR_ONE */
	u32 kind;	/* scx_layers: its class ... */
	u32 counted;	/* ... as a runnable task of the batch */
	u64 slice_ns;
	u64 class_at;	/* when they were looked up ... */
	u64 class_cgrp; /* ... and for which cgroup */
	u32 urgent;	/* of scx_latency's target */
	u64 deadline;	/* ... by when it should have run */
	u64 mean_ns;	/* ... what it runs per wake-up */
	u64 queued_at;	/* scx_powersave: since when it waits, 0 if it does not */
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
	u32 domain;    /* its queue is FAIR_DSQ_SHARED + this */
	u32 looks;     /* at the queues, of which some are at other domains' */
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
static u32 nr_domains;

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

#ifdef FAIR_BY_LLC
static __always_inline u32 fair_domain(struct fair_cpu *c)
{
	return c->domain % FAIR_MAX_DOMAINS;
}
#define FAIR_DOMAINS() (nr_domains ?: 1)
#else
static __always_inline u32 fair_domain(struct fair_cpu *c)
{
	return 0;
}
#define FAIR_DOMAINS() 1
#endif

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
	u64 cpus = nr_online ?: 1, load = FAIR_LOAD();
	u64 max;

	if (fair_is_pinned(p)) {
		load = c->load + (load > load_pinned ? load - load_pinned : 0) / cpus;
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
	t->vtime += fair_scale(fair_used(p, t), FAIR_WEIGHT_OF(p, t));
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
	u64 load = FAIR_WEIGHT_OF(p, t);
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

#endif /* SCX_FAIR_STATE_BPF_H */
