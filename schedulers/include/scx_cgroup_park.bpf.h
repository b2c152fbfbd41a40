// SPDX-License-Identifier: GPL-2.0
/*
 * Where tasks wait that are over the limit of their cgroup: in a queue of their own, in
 * order of when they are looked at again.
 *
 * A timer lets them go on, as all CPUs may be idle by then.  A BPF timer dies with the
 * last descriptor of its map, though.  Nobody is parked when it cannot be set any more,
 * and dispatch takes those who are left behind.
 */
#ifndef SCX_CGROUP_PARK_BPF_H
#define SCX_CGROUP_PARK_BPF_H

#include "scx_cgroups.bpf.h"

enum cg_park_const {
	CG_PARKED_DSQ = 0x5f0000,
	CG_UNPARK_MAX = 256,	/* tasks that are looked at in one go */
	CG_LOOK_NS = 100000000, /* who is parked is looked at so often */
	CG_SOON_NS = 4000000,
	CG_LATE_NS = 100000000, /* the timer must be dead */
};

u64 nr_parked;	 /* times that a task was kept from running by cpu.max */
u64 nr_unparked; /* ... and let go on */

struct cg_timer {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cg_timer);
} cg_timers SEC(".maps");

static u64 unpark_at;	   /* when the timer is due, 0 if it is not */
static u64 nr_waiting;	   /* tasks that are parked, or about to be */
static bool timer_is_dead; /* it cannot be set */
/* Who was looked at this time; on the stack, the verifier would count along. */
static u64 nr_looked_at;

/* Queue @p, met by the iterator @it in CG_PARKED_DSQ, where it would be without a limit. */
static bool cg_unpark(struct bpf_iter_scx_dsq *it, struct task_struct *p, struct fair_task *t);

/* Have the timer fire at @at, or before. */
__noinline int cg_set_timer(u64 at, u64 now)
{
	u64 wait = before(now, at) ? at - now : 0;
	u32 key = 0;
	struct cg_timer *timer = bpf_map_lookup_elem(&cg_timers, &key);

	if (unpark_at && !before(at, unpark_at))
		return 0;
	unpark_at = at;
	if (!timer || bpf_timer_start(&timer->timer, wait, SX_TIMER_CPU_PIN))
		timer_is_dead = true;
	return 0;
}

/* Limits may be lifted: look again before long. */
static __always_inline u64 cg_park_until(struct fair_task *t, u64 now)
{
	return before(now + CG_LOOK_NS, t->release) ? now + CG_LOOK_NS : t->release;
}

/* Keep a task that is over its limit; false when there would be nobody to let it go on. */
static bool cg_park(struct task_struct *p, struct fair_task *t, u64 now, u64 enq_flags)
{
	u64 at = cg_park_until(t, now);

	if (timer_is_dead)
		return false;
	SX_COUNT(nr_parked);
	t->parked_at = now;
	t->parked = 1;
	__sync_fetch_and_add(&nr_waiting, 1);
	cg_leave(t);
	sx_insert_vtime(p, CG_PARKED_DSQ, slice_ns, at, enq_flags);
	cg_set_timer(at, now);
	return true;
}

/* It runs, sleeps or waits elsewhere. */
static __always_inline void cg_unparked(struct fair_task *t)
{
	if (__sync_lock_test_and_set(&t->parked, 0))
		__sync_fetch_and_sub(&nr_waiting, 1);
}

/* Whether it has to wait yet; nobody does for longer than starve_ns. */
static bool cg_stays(struct task_struct *p, struct fair_task *t, u64 now)
{
	cg_look(t, fair_weight(p), 0, now);
	return before(now, t->release) && before(now, t->parked_at + starve_ns);
}

/* Let those go on whose time has come. */
static void cg_unpark_due(u64 now)
{
	struct task_struct *p;
	u64 next = 0;

	unpark_at = nr_looked_at = 0;
	bpf_for_each(scx_dsq, p, CG_PARKED_DSQ, 0) {
		struct fair_task *t = fair_task(p);
		u64 at = p->scx.dsq_vtime;

		if (before(now, at) || ++nr_looked_at > CG_UNPARK_MAX) {
			next = at;
			break;
		}
		if (t && cg_stays(p, t, now)) {
			at = cg_park_until(t, now);
			if (sx_dsq_move_vtime(SX_FOR_EACH_ITER, p, CG_PARKED_DSQ, at, 0))
				cg_set_timer(at, now);
		} else if (cg_unpark(SX_FOR_EACH_ITER, p, t)) {
			SX_COUNT(nr_unparked);
			fair_kick_idle(p);
		}
	}
	/* The kernel queues a task only after enqueue has returned: it may be on its way. */
	if (next || nr_waiting)
		cg_set_timer(next ?: now + CG_SOON_NS, now);
}

/* In dispatch: a timer that is late is dead, so take who waits for it; true if there was one. */
static __always_inline bool cg_take_late(u64 now)
{
	if (!unpark_at || before(now, unpark_at + CG_LATE_NS))
		return false;
	if (sx_consume(CG_PARKED_DSQ))
		return true;
	unpark_at = 0;
	return false;
}

static int cg_timer_fired(void *map, u32 *key, struct cg_timer *timer)
{
	bpf_rcu_read_lock();
	cg_unpark_due(sx_now());
	bpf_rcu_read_unlock();
	return 0;
}

static s32 cg_init_core(void)
{
	u32 key = 0;
	struct cg_timer *timer = bpf_map_lookup_elem(&cg_timers, &key);

	if (!timer)
		return -SX_ENOMEM;
	cg_forget();
	unpark_at = nr_waiting = timer_is_dead = 0;
	/* Attached again, there is a timer already. */
	bpf_timer_init(&timer->timer, &cg_timers, SX_CLOCK_MONOTONIC);
	bpf_timer_set_callback(&timer->timer, cg_timer_fired);
	return scx_bpf_create_dsq(CG_PARKED_DSQ, -1);
}

#endif /* SCX_CGROUP_PARK_BPF_H */
