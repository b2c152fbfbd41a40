// SPDX-License-Identifier: GPL-2.0
/*
 * scx_latency: the tasks of one cgroup run as soon as they wake up; all other tasks
 * share the CPUs fairly, as under scx_fair.
 *
 * Policy: a task of the target cgroup and its descendants that wakes up takes an idle
 * CPU, else it cuts short a task of the others, on the CPU where it last ran if it can.
 * While several of them want CPUs, the one with the earliest deadline goes first: the
 * time of its wake-up, plus what it usually runs per wake-up and what it has run since,
 * both less for a higher weight.  They wait in one queue per last-level cache; a CPU
 * with nothing urgent of its own looks elsewhere now and then.
 *
 * That is a loan.  Every CPU has a credit, which grows by share_percent of the time,
 * up to that of window_ns, and which urgent runs use up.  Without credit, and when a
 * task has run for burst_max_ns without sleep, the target is one of all: its tasks are
 * charged virtual time for whatever they run, and compete by it as under scx_fair.
 *
 * Suits: work with deadlines that sleeps most of the time, beside work that does not:
 * frames and audio beside a build, a service with short requests beside a batch.
 *
 * Does not suit: a target that wants more than share_percent of the CPUs (what is
 * beyond that is fair); targets that spin or poll; two such workloads at once, as only
 * one can be the target.  Tasks of the target that are pinned to one CPU count as the
 * others.  Hosts that use cpu.weight, cpu.max or cpu.idle, as for scx_fair.
 *
 * kfuncs: those of scx_fair.  Kernel 6.16 or later.
 */
#define FAIR_BY_LLC
#include "scx_credit.bpf.h"
#include "scx_fair_ops.bpf.h"
#include "scx_target.bpf.h"

char _license[] SEC("license") = "GPL";

/* Target: cgroup v2 id (inode number of its directory), 0 for none. */
const volatile u64 latency_cgid = 0;
/* Target: depth of that cgroup, 0 for the root. */
const volatile u32 latency_level = 0;
/* What a task is taken to run per wake-up is at least and at most this, in ns. */
const volatile u64 deadline_min_ns = 500000;
const volatile u64 deadline_max_ns = 20000000;
/* A task that has run for this long since its wake-up is one of all, in ns. */
const volatile u64 burst_max_ns = 50000000;

u64 nr_urgent;		/* tasks of the target queued by deadline */
u64 nr_urgent_runs;	/* ... taken from there */
u64 nr_urgent_kept;	/* ... that got another slice */
u64 nr_urgent_preempt;	/* running tasks cut short for one of the target */
u64 nr_urgent_stolen;	/* ... taken by a CPU of another cache */
u64 nr_urgent_ordinary; /* times a task of the target was queued as one of all */

enum latency_const {
	LATENCY_DSQ = 0x5f0000,	       /* + domain */
	LATENCY_SHIELD_NS = 1LL << 40, /* how much less a wake-up is entitled to the CPU */
	LATENCY_HOME = 1LL << 50, /* preferences among CPUs to preempt: where it ran last, ... */
	LATENCY_ORDINARY = 1LL << 45, /* ... else one that does not run the target */
	LATENCY_STRETCH_MAX = 16,     /* a low weight makes deadlines this much longer at most */
};

struct latency_cpu {
	struct credit credit;
	u64 deadline; /* of the running task, 0 if it is not urgent */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FAIR_MAX_CPUS);
	__type(key, u32);
	__type(value, struct latency_cpu);
} latency_cpus SEC(".maps");

static __always_inline struct latency_cpu *latency_cpu(s32 cpu)
{
	u32 key = cpu;

	return bpf_map_lookup_elem(&latency_cpus, &key);
}

/* ---- credit ---------------------------------------------------------------- */

/*
 * Virtual time is charged for all runs, credit for those that others had to make way for.
 * A deadline moves along with what was run, so one that runs for longer than usual makes
 * way for the others of the target.
 */
static void latency_charge(struct task_struct *p, struct fair_task *t, s32 cpu)
{
	struct latency_cpu *l = latency_cpu(cpu);
	u64 used = t->ran_ns;

	fair_charge(p, t);
	used = t->ran_ns - used;
	if (t->urgent)
		t->deadline += fair_scale(used, fair_weight(p));
	if (l && l->deadline)
		credit_spend(&l->credit, sx_now(), used);
}

static __always_inline bool latency_is_urgent(struct fair_task *t, struct latency_cpu *l, u64 now)
{
	return t->urgent && t->burst_ns < burst_max_ns && credit_left(&l->credit, now) > 0;
}

/* ---- deadlines ------------------------------------------------------------- */

/* How long a task of the target may take; one that has never slept is not in a hurry. */
static u64 latency_allowance(struct task_struct *p, struct fair_task *t)
{
	u64 ns = t->mean_ns ?: deadline_max_ns, scaled;

	ns = ns < deadline_min_ns ? deadline_min_ns : ns > deadline_max_ns ? deadline_max_ns : ns;
	scaled = fair_scale(ns, fair_weight(p));
	return scaled < ns * LATENCY_STRETCH_MAX ? scaled : ns * LATENCY_STRETCH_MAX;
}

/* Set the class of @p; whoever wakes up or joins the target gets a deadline. */
static void latency_classify(struct task_struct *p, struct fair_task *t, bool woken)
{
	bool urgent = p->policy != SX_POLICY_IDLE && target_has(p, latency_cgid, latency_level);

	if (urgent && (woken || !t->urgent))
		t->deadline = sx_now() + latency_allowance(p, t);
	t->urgent = urgent;
}

/* ---- wake-ups --------------------------------------------------------------- */

/* How well the CPU of @c and @l may be taken for a deadline; <= 0: not at all. */
static s64 latency_excess(struct fair_cpu *c, struct latency_cpu *l, u64 deadline, bool home,
			  u64 now)
{
	u64 ran = before(now, c->curr_at) ? 0 : now - c->curr_at;
	s64 ahead;

	if (c->kicked || c->run == FAIR_RUN_OTHER || credit_left(&l->credit, now) <= 0)
		return 0;
	if (l->deadline)
		return (s64)(l->deadline + ran - deadline - deadline_min_ns);
	ahead = c->curr_vtime + fair_scale(ran, c->curr_weight) - vtime_now;
	return (home ? LATENCY_HOME : LATENCY_ORDINARY) + ahead;
}

/* The CPU that @p, which woke up on @cpu, is best given; -1 for none. */
static s32 latency_victim(struct task_struct *p, struct fair_task *t, s32 cpu, u32 domain)
{
	u64 now = sx_now();
	s64 best = 0;
	s32 target = -1, i;

	bpf_for(i, 0, FAIR_SCAN_MAX) {
		s32 at = cpu + i < (s32)nr_cpu_ids ? cpu + i : cpu + i - (s32)nr_cpu_ids;
		struct latency_cpu *l = latency_cpu(at);
		struct fair_cpu *c = fair_cpu(at);
		s64 excess;

		if (i >= (s32)preempt_scan || i >= (s32)nr_cpu_ids)
			break;
		if (!c || !l || fair_domain(c) != domain || !bpf_cpumask_test_cpu(at, p->cpus_ptr))
			continue;
		excess = latency_excess(c, l, t->deadline, !i, now);
		if (excess > best) {
			best = excess;
			target = at;
		}
	}
	return target;
}

/* Queue @p by its deadline; false if it has to be queued as one of all. */
static bool latency_enqueue_urgent(struct task_struct *p, struct fair_task *t, u64 enq_flags)
{
	s32 cpu = scx_bpf_task_cpu(p), victim = -1;
	struct latency_cpu *l = latency_cpu(cpu);
	struct fair_cpu *c = fair_cpu(cpu), *v;

	if (!c || !l || !t->urgent || t->burst_ns >= burst_max_ns)
		return false;
	if (enq_flags & SX_ENQ_WAKEUP)
		victim = latency_victim(p, t, cpu, fair_domain(c));
	if (victim < 0 && credit_left(&l->credit, sx_now()) <= 0)
		return false;
	SX_COUNT(nr_urgent);
	t->on_line = 0;
	sx_insert_vtime(p, LATENCY_DSQ + fair_domain(c), slice_ns, t->deadline, enq_flags);
	if (fair_kick_idle(p))
		return true;
	v = fair_cpu(victim);
	if (victim >= 0 && v) {
		SX_COUNT(nr_urgent_preempt);
		fair_preempt(v, victim);
	}
	return true;
}

/* ---- dispatch --------------------------------------------------------------- */

/* The virtual time of the first task of @dsq that may run on @cpu. */
static u64 latency_vtime(u64 dsq, s32 cpu)
{
	struct task_struct *p;
	u64 vtime = vtime_now;
	u32 seen = 0;

	bpf_for_each(scx_dsq, p, dsq, 0) {
		struct fair_task *t = fair_task(p);

		if (t)
			vtime = t->vtime;
		if (bpf_cpumask_test_cpu(cpu, p->cpus_ptr) || ++seen >= FAIR_PEEK_MAX)
			break;
	}
	return vtime;
}

/* @contended: tasks that are not urgent have to wait for it. */
static bool latency_take(struct fair_cpu *c, u64 dsq, bool contended)
{
	c->contended = contended;
	if (!sx_consume(dsq))
		return false;
	if (dsq != LATENCY_DSQ + fair_domain(c))
		SX_COUNT(nr_urgent_stolen);
	SX_COUNT(nr_urgent_runs);
	return true;
}

/* What runs now, to those who wake up: an urgent task gives way to kernel threads only. */
static void latency_note_run(struct fair_cpu *c, struct latency_cpu *l, struct fair_task *t,
			     bool urgent)
{
	l->deadline = urgent ? t->deadline : 0;
	if (urgent)
		c->curr_vtime -= LATENCY_SHIELD_NS;
}

/* Serve the target first; @prev is the running task, @t NULL if that is not urgent. */
static bool latency_pick(struct fair_cpu *c, struct latency_cpu *l, struct task_struct *prev,
			 struct fair_task *t, struct fair_search *head)
{
	bool ahead = t && head->found && !before(head->key, t->deadline);
	bool contended =
		(prev && !t) || scx_bpf_dsq_nr_queued(FAIR_DSQ_SHARED + fair_domain(c)) > 0;

	if (head->found && !ahead && latency_take(c, head->dsq, contended))
		return true;
	if (!prev || !t)
		return false;
	SX_COUNT(nr_urgent_kept);
	fair_keep(c, prev, t, false);
	latency_note_run(c, l, t, true);
	return true;
}

/* ---- ops -------------------------------------------------------------------- */

void SX_OPS(latency_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t) {
		sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
		return;
	}
	latency_classify(p, t, false);
	if (latency_enqueue_urgent(p, t, enq_flags))
		return;
	if (t->urgent)
		SX_COUNT(nr_urgent_ordinary);
	fair_enqueue(p, t, enq_flags);
}

void SX_OPS(latency_dispatch, s32 cpu, struct task_struct *prev)
{
	struct latency_cpu *l = latency_cpu(cpu);
	struct fair_task *t = NULL, *ut = NULL;
	struct fair_cpu *c = fair_cpu(cpu);
	struct fair_search urgent = { .dsq = LATENCY_DSQ };
	struct fair_head fair = {};
	u64 now = sx_now();
	bool running = false;

	if (!c || !l)
		return;
	if (prev && fair_is_queued(prev))
		t = fair_task(prev);
	if (t) {
		latency_charge(prev, t, cpu);
		latency_classify(prev, t, false);
		running = true;
		if (latency_is_urgent(t, l, now) && !t->yielded)
			ut = t;
	}
	l->deadline = 0;
	urgent.busy = running;
	fair_search(cpu, c, &urgent);
	if (credit_left(&l->credit, now) > 0 &&
	    latency_pick(c, l, running ? prev : NULL, ut, &urgent))
		return;
	fair_find(cpu, c, t ? prev : NULL, t, &fair);
	running |= fair.dsq != 0;
	/* No credit: it competes as one of all. */
	if (urgent.found &&
	    (!running || before(latency_vtime(urgent.dsq, cpu), fair_best(t, &fair))) &&
	    latency_take(c, urgent.dsq, running))
		return;
	fair.contended |= urgent.found;
	fair_pick(cpu, c, t ? prev : NULL, t, &fair);
}

void SX_OPS(latency_runnable, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t)
		return;
	fair_load_add(p, t);
	fair_wake(p, t, enq_flags);
	latency_classify(p, t, enq_flags & SX_ENQ_WAKEUP);
}

void SX_OPS(latency_running, struct task_struct *p)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct latency_cpu *l = latency_cpu(cpu);
	struct fair_cpu *c = fair_cpu(cpu);
	struct fair_task *t = fair_task(p);

	if (!t || !c || !l)
		return;
	fair_running(p, t, c);
	latency_note_run(c, l, t, latency_is_urgent(t, l, sx_now()));
}

void SX_OPS(latency_stopping, struct task_struct *p, bool runnable)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct latency_cpu *l = latency_cpu(cpu);
	struct fair_cpu *c = fair_cpu(cpu);
	struct fair_task *t = fair_task(p);

	if (t)
		latency_charge(p, t, cpu);
	if (l)
		l->deadline = 0;
	if (c)
		c->run = FAIR_RUN_OTHER;
}

void SX_OPS(latency_quiescent, struct task_struct *p, u64 deq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t)
		return;
	fair_load_sub(t);
	if (deq_flags & SX_DEQ_SLEEP)
		t->mean_ns = t->mean_ns ? (3 * t->mean_ns + t->burst_ns) / 4 : t->burst_ns;
}

bool SX_OPS(latency_yield, struct task_struct *from, struct task_struct *to)
{
	struct fair_task *t = fair_task(from);

	if (t && !to)
		fair_yield(from, t);
	return false;
}

void SX_OPS(latency_cpu_offline, s32 cpu)
{
	struct fair_cpu *c = fair_cpu(cpu);

	fair_cpu_offline(cpu);
	if (c)
		fair_drain(LATENCY_DSQ + fair_domain(c), cpu);
}

s32 SX_OPS_SLEEPABLE(latency_init)
{
	s32 err = fair_init(), i;

	/* The object may be attached again after a pause. */
	bpf_for(i, 0, FAIR_MAX_CPUS) {
		struct latency_cpu *l = latency_cpu(i);

		if (l)
			__builtin_memset(l, 0, sizeof(*l));
	}
	return err ?: fair_create_queues(LATENCY_DSQ);
}

SEC(".struct_ops.link")
struct sched_ext_ops latency_ops = {
	.select_cpu = (void *)fair_op_select_cpu,
	.enqueue = (void *)latency_enqueue,
	.dispatch = (void *)latency_dispatch,
	.runnable = (void *)latency_runnable,
	.running = (void *)latency_running,
	.stopping = (void *)latency_stopping,
	.quiescent = (void *)latency_quiescent,
	.yield = (void *)latency_yield,
	.cpu_release = (void *)fair_op_cpu_release,
	.cpu_online = (void *)fair_op_cpu_online,
	.cpu_offline = (void *)latency_cpu_offline,
	.enable = (void *)fair_op_enable,
	.disable = (void *)fair_op_disable,
	.init_task = (void *)fair_op_init_task,
	.exit_task = (void *)fair_op_exit_task,
	.init = (void *)latency_init,
	.exit = (void *)fair_op_exit,
	.timeout_ms = 30000,
	.name = "scx_latency",
};
