// SPDX-License-Identifier: GPL-2.0
/*
 * What cgroups are promised: cpu.weight, cpu.idle and cpu.max, at every level.
 *
 * Weights.  A cgroup and its siblings, tasks among them, share what their parent
 * has by weight.  The tree is flattened: the weight of a task is multiplied, level
 * by level, with the part of its cgroup's load that it is and with the share of the
 * cgroup, as in the kernel's own fair class.  So one queue of tasks is enough.  What
 * a cgroup's load is changes all the time; the weight is worked out anew whenever a
 * task is charged.
 *
 * Limits.  A cgroup with cpu.max has quota_ns to spend in each period.  What was spent
 * beyond the quota is paid back from the next ones: only then its tasks may run again.
 * See scx_cgroup_park.bpf.h for where they are until then.
 *
 * Functions with loops that are called from many places are global: the kernel's
 * verifier then looks at each once, rather than at each call.
 *
 * The policy includes this after it has defined FAIR_WEIGHT_OF(p, t) as (t)->eff and
 * FAIR_LOAD() as cg_load().
 */
#ifndef SCX_CGROUPS_BPF_H
#define SCX_CGROUPS_BPF_H

#include "scx_fair_core.bpf.h"

enum cg_const {
	CG_MAX = 16384,
	CG_DEPTH = 16, /* deeper cgroups count as the one above */
	CG_SHARE_ONE = 1024,
	CG_SHARE_IDLE = 3, /* the kernel's for cpu.idle */
	CG_WEIGHT_ONE = 100,
	CG_WEIGHT_MAX = 10000,
	CG_EFF_MIN = 16,
	CG_FACTOR_ONE = 10000,
	CG_NS_PER_US = 1000,
	CG_PERIOD_MIN_NS = 1000000, /* the kernel's own bounds */
	CG_PERIOD_MAX_NS = 1000000000,
	CG_READ_NS = 10000000, /* limits are read so often where no op tells of them */
};

u64 nr_untracked; /* cgroups counted as the one above: too many, or too deep */

struct cg {
	u64 id; /* of the cgroup, 0 for a slot that is free */
	u64 share;
	u64 counted;			   /* the share that is in its parent's load */
	u64 load;			   /* weight of what is runnable directly in it */
	u64 nr;				   /* how much that is */
	u64 quota_ns, period_ns, burst_ns; /* a quota of 0 is none */
	s64 left_ns;
	u64 refill_at;
	u64 read_at;
	u32 weight;
	u32 idle;
	u32 parent; /* slot; the root has slot 0 */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CG_MAX);
	__type(key, u32);
	__type(value, struct cg);
} cgs SEC(".maps");

/* cgroup id to slot. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CG_MAX);
	__type(key, u64);
	__type(value, u32);
} cg_slots SEC(".maps");

static u64 nr_limited; /* cgroups with a limit */
static u32 cg_hint;    /* where to look for a free slot */

static __always_inline struct cg *cg_at(u32 slot)
{
	return bpf_map_lookup_elem(&cgs, &slot);
}

static __always_inline u64 cg_load(void)
{
	struct cg *root = cg_at(0);

	return (root ? root->load : 0) << FAIR_WEIGHT_SHIFT;
}

static u32 cg_slot(struct cgroup *cgrp)
{
	u64 id = BPF_CORE_READ(cgrp, kn, id);
	u32 *slot = bpf_map_lookup_elem(&cg_slots, &id);

	return slot ? *slot : 0;
}

/* What is kept of @cgrp itself, if anything is. */
static struct cg *cg_own(struct cgroup *cgrp)
{
	u32 slot = cg_slot(cgrp);
	struct cg *g = slot ? cg_at(slot) : NULL;

	return g && g->id == BPF_CORE_READ(cgrp, kn, id) ? g : NULL;
}

/* ---- weights -------------------------------------------------------------------- */

/* One more is runnable in @slot: the first makes its cgroup count in the one above. */
static void cg_activate(u32 slot)
{
	struct cg *g, *parent;
	u64 share;
	u32 i;

	bpf_for(i, 0, CG_DEPTH + 1) {
		g = cg_at(slot);
		if (!g || __sync_fetch_and_add(&g->nr, 1) || !slot)
			break;
		share = g->share;
		slot = g->parent;
		parent = cg_at(slot);
		share -= __sync_lock_test_and_set(&g->counted, share);
		if (parent)
			__sync_fetch_and_add(&parent->load, share);
	}
}

static void cg_deactivate(u32 slot)
{
	struct cg *g, *parent;
	u64 share;
	u32 i;

	bpf_for(i, 0, CG_DEPTH + 1) {
		g = cg_at(slot);
		if (!g || __sync_fetch_and_sub(&g->nr, 1) != 1 || !slot)
			break;
		slot = g->parent;
		parent = cg_at(slot);
		share = __sync_lock_test_and_set(&g->counted, 0);
		if (parent)
			__sync_fetch_and_sub(&parent->load, share);
	}
}

/* Count a runnable task, or count it at another weight. */
__noinline int cg_join(struct fair_task *t __arg_nonnull, u64 weight)
{
	u64 before = __sync_lock_test_and_set(&t->joined, weight);
	struct cg *g = cg_at(t->cg);

	if (g && weight != before)
		__sync_fetch_and_add(&g->load, weight - before);
	if (!before)
		cg_activate(t->cg);
	return 0;
}

__noinline int cg_leave(struct fair_task *t __arg_nonnull)
{
	u64 weight = __sync_lock_test_and_set(&t->joined, 0);
	struct cg *g = cg_at(t->cg);

	if (!weight)
		return 0;
	if (g)
		__sync_fetch_and_sub(&g->load, weight);
	cg_deactivate(t->cg);
	return 0;
}

static void cg_enter(struct fair_task *t, struct cgroup *cgrp)
{
	cg_leave(t);
	t->cg = cg_slot(cgrp);
	t->cg_known = 1;
}

static void cg_set_share(struct cg *g)
{
	struct cg *parent = cg_at(g->parent);
	u64 share = (u64)g->weight * CG_SHARE_ONE / CG_WEIGHT_ONE;

	share = g->idle ? CG_SHARE_IDLE : share;
	g->share = share;
	if (!g->nr || !parent)
		return;
	share -= __sync_lock_test_and_set(&g->counted, share);
	__sync_fetch_and_add(&parent->load, share);
}

static __always_inline void cg_set_weight(struct cg *g, u32 weight)
{
	g->weight = weight < 1 ? 1 : weight > CG_WEIGHT_MAX ? CG_WEIGHT_MAX : weight;
	cg_set_share(g);
}

/* ---- limits --------------------------------------------------------------------- */

static void cg_set_limit(struct cg *g, u64 period_ns, u64 quota_ns, u64 burst_ns)
{
	/* No limit is written as the greatest number; more than the machine has is none either. */
	bool limited = quota_ns && quota_ns <= (u64)CG_PERIOD_MAX_NS * FAIR_MAX_CPUS;
	bool was_limited = g->quota_ns;

	if (!limited)
		quota_ns = burst_ns = 0;
	if (burst_ns > quota_ns)
		burst_ns = quota_ns;
	if (quota_ns == g->quota_ns && burst_ns == g->burst_ns &&
	    (!limited || period_ns == g->period_ns))
		return;
	g->period_ns = period_ns < CG_PERIOD_MIN_NS ? CG_PERIOD_MIN_NS : period_ns;
	if (g->period_ns > CG_PERIOD_MAX_NS)
		g->period_ns = CG_PERIOD_MAX_NS;
	g->burst_ns = burst_ns;
	g->left_ns = quota_ns;
	g->refill_at = sx_now() + g->period_ns;
	g->quota_ns = quota_ns;
	if (limited != was_limited)
		__sync_fetch_and_add(&nr_limited, limited ? 1 : -1);
}

static void cg_set_limit_us(struct cg *g, u64 period_us, u64 quota_us, u64 burst_us)
{
	u64 most = ~0ULL / CG_NS_PER_US;

	cg_set_limit(g, period_us * CG_NS_PER_US, quota_us < most ? quota_us * CG_NS_PER_US : 0,
		     burst_us < most ? burst_us * CG_NS_PER_US : 0);
}

/* What the kernel itself knows of the limits of the task group @tg. */
static void cg_read_limits(struct cg *g, struct task_group *tg)
{
	u32 idle = BPF_CORE_READ(tg, idle) != 0;

	if (idle != g->idle) {
		g->idle = idle;
		cg_set_share(g);
	}
	cg_set_limit(g, BPF_CORE_READ(tg, cfs_bandwidth.period),
		     BPF_CORE_READ(tg, cfs_bandwidth.quota),
		     BPF_CORE_READ(tg, cfs_bandwidth.burst));
}

/*
 * Kernels before 6.19 do not tell of all changes: look for them while tasks run, in the
 * task group of @t and above.
 */
__noinline int cg_follow_limits(struct fair_task *t __arg_nonnull, u64 task_group, u64 now)
{
	struct task_group *tg = (void *)task_group;
	u32 slot = t->cg, i;

	bpf_for(i, 0, CG_DEPTH) {
		struct cg *g = slot ? cg_at(slot) : NULL;

		if (!g || !tg || now - g->read_at < CG_READ_NS)
			break;
		g->read_at = now;
		cg_read_limits(g, tg);
		tg = BPF_CORE_READ(tg, parent);
		slot = g->parent;
	}
	return 0;
}

static __always_inline bool cg_is_told(void)
{
	struct sched_ext_ops *ops = NULL;

	return bpf_core_field_exists(ops->cgroup_set_bandwidth) &&
	       bpf_core_field_exists(ops->cgroup_set_idle);
}

static void cg_refill(struct cg *g, u64 quota, u64 now)
{
	u64 at = g->refill_at, period = g->period_ns ?: CG_PERIOD_MAX_NS, times;
	s64 most = quota + g->burst_ns, left, add;

	if (before(now, at))
		return;
	times = (now - at) / period + 1;
	if (__sync_val_compare_and_swap(&g->refill_at, at, at + times * period) != at)
		return;
	left = g->left_ns;
	/* Enough to pay back everything; not so much that it would overflow. */
	add = times < CG_MAX ? times * quota : (u64)CG_MAX * quota;
	if (left + add > most)
		add = most - left;
	__sync_fetch_and_add(&g->left_ns, add);
}

/* Spend @used of the quota; returns when there is some left to go on with, 0 for now. */
static u64 cg_spend(struct cg *g, u64 used, u64 now)
{
	u64 quota = g->quota_ns, owed;
	s64 left;

	if (!quota)
		return 0;
	cg_refill(g, quota, now);
	left = __sync_fetch_and_sub(&g->left_ns, used) - (s64)used;
	if (left > 0)
		return 0;
	owed = -left;
	return g->refill_at + owed / quota * g->period_ns;
}

/*
 * Charge the cgroups of @t with @used and work out its weight: @weight is what it has
 * among the tasks of its cgroup, t->factor what that is multiplied with in the end.
 * t->release is when cpu.max lets it run, 0 for now.
 */
__noinline int cg_look(struct fair_task *t __arg_nonnull, u64 weight, u64 used, u64 now)
{
	u64 eff = weight << FAIR_WEIGHT_SHIFT, own = weight, release = 0, load, at;
	bool limited = nr_limited;
	u32 slot = t->cg, i;

	bpf_for(i, 0, CG_DEPTH) {
		struct cg *g = slot ? cg_at(slot) : NULL;

		if (!g)
			break;
		load = g->load > own ? g->load : own;
		own = g->share;
		eff = eff * own / (load ?: 1);
		at = limited ? cg_spend(g, used, now) : 0;
		if (before(release, at))
			release = at;
		slot = g->parent;
	}
	eff = eff * t->factor / CG_FACTOR_ONE;
	t->eff = eff < CG_EFF_MIN ? CG_EFF_MIN : eff;
	t->release = release;
	return 0;
}

/* ---- the tree ----------------------------------------------------------------------- */

static u32 cg_take_slot(u64 id)
{
	u32 i;

	bpf_for(i, 0, CG_MAX) {
		u32 slot = (cg_hint + i) % (CG_MAX - 1) + 1;
		struct cg *g = cg_at(slot);

		if (g && !g->id && !__sync_val_compare_and_swap(&g->id, 0, id)) {
			cg_hint = slot;
			return slot;
		}
	}
	return 0;
}

/* The task group of @cgrp: the state that the cpu controller has for it. */
static struct task_group *cg_task_group(struct cgroup *cgrp)
{
	u64 at = (u64)cgrp + bpf_core_field_offset(struct cgroup, subsys) +
		 SX_ENUM(cgroup_subsys_id, cpu_cgrp_id) * sizeof(void *);
	struct task_group *tg = NULL;

	bpf_probe_read_kernel(&tg, sizeof(tg), (void *)at);
	return tg;
}

static void cg_begin(struct cgroup *cgrp, u32 weight)
{
	u64 id = BPF_CORE_READ(cgrp, kn, id);
	u32 level = BPF_CORE_READ(cgrp, level), slot = 0, parent = 0;
	struct task_group *tg = cg_task_group(cgrp);
	struct cg *g;

	if (level) {
		parent = cg_slot(BPF_CORE_READ(cgrp, self.parent, cgroup));
		slot = level < CG_DEPTH ? cg_take_slot(id) : 0;
		if (!slot)
			SX_COUNT(nr_untracked);
	}
	g = slot ? cg_at(slot) : NULL;
	if (g) {
		g->counted = g->load = g->nr = g->quota_ns = g->read_at = 0;
		g->idle = 0;
		g->parent = parent;
		cg_set_weight(g, weight);
		if (tg)
			cg_read_limits(g, tg);
	}
	slot = slot ?: parent;
	bpf_map_update_elem(&cg_slots, &id, &slot, BPF_ANY);
}

static void cg_end(struct cgroup *cgrp)
{
	u64 id = BPF_CORE_READ(cgrp, kn, id);
	u32 slot = cg_slot(cgrp);
	struct cg *g = cg_at(slot);

	bpf_map_delete_elem(&cg_slots, &id);
	if (!g || g->id != id)
		return;
	cg_set_limit(g, 0, 0, 0);
	__sync_lock_test_and_set(&g->id, 0);
}

/* What is left of an earlier life. */
__noinline int cg_forget(void)
{
	u32 slot;

	bpf_for(slot, 0, CG_MAX) {
		struct cg *g = cg_at(slot);

		if (g)
			g->id = g->quota_ns = g->load = g->nr = 0;
	}
	nr_limited = 0;
	return 0;
}

#endif /* SCX_CGROUPS_BPF_H */
