// SPDX-License-Identifier: GPL-2.0
/*
 * Weighted fair scheduling: what happens to a task in the fair class from its
 * wake-up to its next sleep.  Clocks, weights and accounts are in
 * scx_fair_state.bpf.h, which also says how all of it works.
 */
#ifndef SCX_FAIR_CORE_BPF_H
#define SCX_FAIR_CORE_BPF_H

#include "scx_fair_state.bpf.h"

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
	s32 cpu;

	if (!FAIR_MAY_RUN(p))
		return prev_cpu;
	cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &idle);
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
	fair_clamp_lead(&t->vtime, FAIR_WEIGHT_OF(p, t));
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
	sx_insert_vtime(p, FAIR_DSQ_PINNED + cpu, FAIR_SLICE_OF(t), t->vtime - c->pin_off,
			enq_flags);
	if (!FAIR_KICK_IDLE(p) && (enq_flags & SX_ENQ_WAKEUP) &&
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
	sx_insert_vtime(p, FAIR_DSQ_SHARED + fair_domain(c), FAIR_SLICE_OF(t), t->vtime, enq_flags);
	if (!FAIR_KICK_IDLE(p) && (enq_flags & SX_ENQ_WAKEUP))
		fair_preempt_any(p, cpu, t->vtime);
}

/* Key of the first task of @dsq that may run on @cpu. */
FAIR_FUNCTION bool fair_peek(u64 dsq, s32 cpu, u64 *key __arg_nonnull)
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

/* A look at queues of which there is one for each domain. */
struct fair_search {
	u64 dsq;    /* the first of them, then that to be served */
	u64 margin; /* what is in another domain must be that much before what is here */
	bool busy;  /* there is other work for this CPU */
	bool found;
	u64 key; /* of the head */
};

#ifdef FAIR_BY_LLC
/* One after the other in turn; if there is nothing to do here, the next with anything queued. */
static u64 fair_other_queue(struct fair_cpu *c, u64 first, bool busy)
{
	u32 turn = c->looks / FAIR_STEAL_TURNS, i;
	u64 dsq = first + turn % (nr_domains ?: 1);

	bpf_for(i, 0, FAIR_MAX_DOMAINS) {
		if (busy || i >= nr_domains)
			break;
		dsq = first + (turn + i) % (nr_domains ?: 1);
		if (scx_bpf_dsq_nr_queued(dsq))
			break;
	}
	return dsq;
}

/* Look into another domain: now and then, and always if there is nothing to do here. */
static void fair_look_around(s32 cpu, struct fair_cpu *c, u64 first, struct fair_search *s)
{
	bool busy = s->busy || s->found;
	u64 dsq, key = 0;

	if (nr_domains < 2 || (busy && c->looks % FAIR_STEAL_TURNS))
		return;
	dsq = fair_other_queue(c, first, busy);
	if (fair_peek(dsq, cpu, &key) && (!s->found || before(key + s->margin, s->key))) {
		s->dsq = dsq;
		s->key = key;
		s->found = true;
	}
}
#else
static __always_inline void fair_look_around(s32 cpu, struct fair_cpu *c, u64 first,
					     struct fair_search *s)
{
}
#endif

static void fair_search(s32 cpu, struct fair_cpu *c, struct fair_search *s)
{
	u64 first = s->dsq;

	s->dsq += fair_domain(c);
	s->found = fair_peek(s->dsq, cpu, &s->key);
	fair_look_around(cpu, c, first, s);
}

/* @prev is the running task if it is runnable and of the fair class, else NULL. */
static void fair_find(s32 cpu, struct fair_cpu *c, struct task_struct *prev, struct fair_task *t,
		      struct fair_head *head)
{
	struct fair_task *line = prev && t && fair_is_pinned(prev) ? t : NULL;
	struct fair_search shared = {
		.dsq = FAIR_DSQ_SHARED,
		.margin = FAIR_STEAL_SLICES * slice_ns,
	};
	u64 pinned_at = 0;
	bool pinned = fair_peek(FAIR_DSQ_PINNED + cpu, cpu, &pinned_at);

	c->looks++;
	shared.busy = pinned || prev;
	fair_search(cpu, c, &shared);
	pinned_at += c->pin_off;
	if (pinned || line)
		fair_shift_line(c, line, pinned, &pinned_at);
	head->dsq = 0;
	if (pinned && (!shared.found || !before(shared.key, pinned_at))) {
		head->dsq = FAIR_DSQ_PINNED + cpu;
		head->vtime = pinned_at;
	} else if (shared.found) {
		head->dsq = shared.dsq;
		head->vtime = shared.key;
	}
	head->contended = prev || (pinned && shared.found) ||
			  (head->dsq && scx_bpf_dsq_nr_queued(head->dsq) > 1);
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
	u64 weight = FAIR_WEIGHT_OF(prev, t);

	SX_COUNT(nr_kept);
	if (contended)
		fair_advance(t->vtime);
	else
		fair_clamp_lead(&t->vtime, weight);
	fair_clamp_lag(&t->vtime);
	t->yielded = 0;
	fair_note_run(c, t->vtime, weight, fair_run(prev, t));
	sx_set_slice(prev, FAIR_SLICE_OF(t));
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
	if (sx_consume(FAIR_DSQ_SHARED + fair_domain(c)) || sx_consume(FAIR_DSQ_PINNED + cpu)) {
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
	u64 weight = FAIR_WEIGHT_OF(p, t);

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
	if (p->scx.slice > FAIR_SLICE_OF(t))
		sx_set_slice(p, FAIR_SLICE_OF(t));
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
	/* As in fair_init(). */
	t->load = t->on_line = t->joined = t->counted = t->parked = t->cg_known = 0;
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
	struct fair_cpu *c = fair_cpu(cpu);

	__sync_fetch_and_sub(&nr_online, 1);
	fair_drain(FAIR_DSQ_PINNED + cpu, cpu);
	if (c)
		fair_drain(FAIR_DSQ_SHARED + fair_domain(c), cpu);
}

#ifdef FAIR_BY_LLC
/* The kernel's own number of the last-level cache of each CPU; an int of each CPU. */
extern const int sd_llc_id __ksym __weak;

static u32 fair_llcs[FAIR_MAX_CPUS]; /* by that number: its domain + 1 */

/* CPUs whose cache is not known, such as those that are offline now, are of domain 0. */
FAIR_FUNCTION int fair_set_domain(s32 cpu, struct fair_cpu *c __arg_nonnull)
{
	const int *llc = bpf_ksym_exists(&sd_llc_id) ? bpf_per_cpu_ptr(&sd_llc_id, cpu) : NULL;
	u32 id = llc ? *llc : FAIR_MAX_CPUS;

	if (id >= FAIR_MAX_CPUS)
		return 0;
	if (!fair_llcs[id])
		fair_llcs[id] = nr_domains < FAIR_MAX_DOMAINS ? ++nr_domains : FAIR_MAX_DOMAINS;
	c->domain = fair_llcs[id] - 1;
	return 0;
}

/* One for each domain, from @dsq on. */
static s32 fair_create_queues(u64 dsq)
{
	s32 err = scx_bpf_create_dsq(dsq, -1);
	u32 i;

	bpf_for(i, 1, FAIR_MAX_DOMAINS) {
		if (err || i >= nr_domains)
			break;
		err = scx_bpf_create_dsq(dsq + i, -1);
	}
	return err;
}
#else
static __always_inline void fair_set_domain(s32 cpu, struct fair_cpu *c)
{
}

static __always_inline s32 fair_create_queues(u64 dsq)
{
	return scx_bpf_create_dsq(dsq, -1);
}
#endif

static s32 fair_init(void)
{
	const struct cpumask *online;
	s32 cpu, err = 0;

	nr_cpu_ids = scx_bpf_nr_cpu_ids();
	if (nr_cpu_ids > FAIR_MAX_CPUS)
		return -SX_E2BIG;
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
		fair_set_domain(cpu, c);
		if (bpf_cpumask_test_cpu(cpu, online))
			nr_online++;
	}
	scx_bpf_put_cpumask(online);
	return err ?: fair_create_queues(FAIR_DSQ_SHARED);
}

#endif /* SCX_FAIR_CORE_BPF_H */
