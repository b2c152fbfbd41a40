// SPDX-License-Identifier: GPL-2.0
/*
 * scx_layers: one policy for the whole machine, in which each cgroup can have a class
 * of its own; all that has none shares the CPUs fairly.
 *
 * Policy: the map layers says which cgroup is of which class; descendants are of the
 * class of the nearest ancestor that has one.  A change counts from the next time on
 * that a task is queued, a few milliseconds later; nothing has to be loaded again.
 *
 *   fair        weighted virtual time, as under scx_fair
 *   batch       run to completion, oldest process first, as under scx_batch
 *   longest     the same, but longest expected remaining time first (scx_hints.bpf.h)
 *   latency     first, and preempts whoever is not, until the class has used
 *               share_percent of that CPU for a while; fair beyond that
 *   background  what the others leave, but background_percent of a fair share
 *
 * Tasks of batch and longest wait in one queue, and compete with all others as one
 * entity with the weight of all of them together; they give way to wake-ups.
 * cpu.weight, cpu.idle and cpu.max hold at every level and for all classes, see
 * scx_cgroups.bpf.h; nice holds inside each cgroup.  Kernel threads go first, tasks
 * pinned to one CPU are never of the batch.  Each last-level cache has queues of its
 * own, see scx_fair_state.bpf.h.
 *
 * Suits: machines with several workloads at once, of different kinds.
 *
 * Does not suit: two batches that both have to progress, as they run one after the
 * other: batch before longest, oldest first; nice and cpu.weight inside a batch;
 * latency workloads that want most of the machine; more than 16384 cgroups, or
 * deeper than 15 levels, of which the rest counts as the one above.
 *
 * kfuncs: those of scx_fair, and dsq_move_vtime.  Kernel 6.16 or later.
 */
#define FAIR_BY_LLC
#define FAIR_FUNCTION __noinline
#define FAIR_WEIGHT_SHIFT 10
#define FAIR_WEIGHT_OF(p, t) ((t)->eff)
#define FAIR_SLICE_OF(t) ((t)->slice_ns ?: slice_ns)
#define FAIR_LOAD() cg_load()
#define FAIR_MAY_RUN(p) layers_may_run(p)
#define BATCH_WEIGHT(t) layers_batch_weight(t)

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct fair_task;
static __always_inline u64 cg_load(void);
static bool layers_may_run(struct task_struct *p);
static __always_inline u64 layers_batch_weight(struct fair_task *t);

#include "scx_fair_ops.bpf.h"
#include "scx_cgroup_park.bpf.h"
#include "scx_choose.bpf.h"
#include "scx_classes.bpf.h"
#include "scx_credit.bpf.h"
#include "scx_hints.bpf.h"

char _license[] SEC("license") = "GPL";

u64 nr_latency;	  /* times that a task of the latency class was put first */
u64 nr_overspent; /* ... or not, as its class had used its part */

/* What the latency class may use of each CPU before it is as the others. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FAIR_MAX_CPUS);
	__type(key, u32);
	__type(value, struct credit);
} layers_credits SEC(".maps");

static u64 nr_batch; /* runnable tasks of the batch */

static __always_inline u64 layers_batch_weight(struct fair_task *t)
{
	u64 all = (nr_batch ?: 1) * t->eff >> FAIR_WEIGHT_SHIFT;

	return all / group_cpus() ?: 1;
}

/* ---- classes --------------------------------------------------------------------- */

static __always_inline bool layers_is_batch(struct task_struct *p, struct fair_task *t)
{
	return (t->kind == LAYER_BATCH || t->kind == LAYER_LONGEST) && !fair_is_pinned(p) &&
	       !(p->flags & SX_PF_KTHREAD);
}

/* @p is runnable: set its class.  Moves by cgroup.procs and changes of the map do not call us. */
static void layers_classify(struct task_struct *p, struct fair_task *t, u64 now)
{
	bool batch;

	class_refresh(t, (u64)BPF_CORE_READ(p, cgroups, dfl_cgrp), now);
	batch = layers_is_batch(p, t);
	if (t->batch && !batch)
		t->vtime = vtime_now;
	if (batch && t->kind == LAYER_LONGEST)
		t->order = hint_order(p);
	else if (batch)
		t->order = batch_age_order(p);
	t->batch = batch;
	if (__sync_lock_test_and_set(&t->counted, batch) != batch)
		__sync_fetch_and_add(&nr_batch, batch ? 1 : -1);
}

/* Set t->eff and t->release after @used more CPU time. */
static __always_inline void layers_look(struct task_struct *p, struct fair_task *t, u64 used,
					u64 now)
{
	if (!cg_is_told())
		cg_follow_limits(t, (u64)BPF_CORE_READ(p, sched_task_group), now);
	cg_look(t, fair_weight(p), used, now);
}

static __always_inline bool layers_is_over(struct task_struct *p, struct fair_task *t, u64 now)
{
	return before(now, t->release) && !(p->flags & SX_PF_KTHREAD);
}

/* A task that is over the limit of its cgroup must not take an idle CPU. */
static bool layers_may_run(struct task_struct *p)
{
	struct fair_task *t;
	u64 now;

	if (!nr_limited)
		return true;
	t = fair_task(p);
	if (!t)
		return true;
	now = sx_now();
	layers_look(p, t, 0, now);
	return !layers_is_over(p, t, now);
}

/* A task of the latency class is always as far behind as one can be, within bounds. */
static void layers_prefer(struct task_struct *p, struct fair_task *t, u64 used, u64 now)
{
	u64 first = vtime_now - FAIR_LAG_SLICES * slice_ns;
	u32 cpu = scx_bpf_task_cpu(p);
	struct credit *credit = bpf_map_lookup_elem(&layers_credits, &cpu);

	if (!credit)
		return;
	credit_spend(credit, now, used);
	if (credit_left(credit, now) <= 0) {
		SX_COUNT(nr_overspent);
		return;
	}
	SX_COUNT(nr_latency);
	if (before(first, t->vtime))
		t->vtime = first;
}

static void layers_charge(struct task_struct *p, struct fair_task *t, u64 now)
{
	u64 used = p->se.sum_exec_runtime - t->ran_ns;

	layers_look(p, t, used, now);
	if (t->batch)
		batch_charge(p, t);
	else
		fair_charge(p, t);
	if (t->kind == LAYER_LONGEST)
		hint_charge(p);
	if (t->kind == LAYER_LATENCY)
		layers_prefer(p, t, used, now);
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

static bool cg_unpark(struct bpf_iter_scx_dsq *it, struct task_struct *p, struct fair_task *t)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));
	u64 dsq, key;

	if (!c || !t)
		return sx_dsq_move(it, p, SX_DSQ_GLOBAL, 0);
	fair_clamp_lag(&t->vtime);
	if (t->batch) {
		dsq = BATCH_DSQ + fair_domain(c);
		key = batch_key(t);
	} else if (fair_is_pinned(p)) {
		dsq = FAIR_DSQ_PINNED + scx_bpf_task_cpu(p);
		t->line_off = c->pin_off;
		t->on_line = 1;
		key = t->vtime - c->pin_off;
	} else {
		dsq = FAIR_DSQ_SHARED + fair_domain(c);
		key = t->vtime;
	}
	cg_unparked(t);
	cg_join(t, fair_weight(p));
	return sx_dsq_move_vtime(it, p, dsq, key, 0);
}

/* ---- ops in lifecycle order --------------------------------------------------------- */

void SX_OPS(layers_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);
	u64 now = sx_now();

	if (!t) {
		sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
		return;
	}
	layers_classify(p, t, now);
	layers_look(p, t, 0, now);
	if (layers_is_over(p, t, now) && !batch_holds_up(p, t, enq_flags) &&
	    cg_park(p, t, now, enq_flags)) {
		t->on_line = 0;
	} else if (t->batch) {
		batch_enqueue_task(p, t, enq_flags);
	} else {
		if (t->kind == LAYER_BACKGROUND)
			enq_flags &= ~SX_ENQ_WAKEUP;
		fair_enqueue(p, t, enq_flags);
	}
	/* Nobody else is here to run: look at the queues again, rather than go idle. */
	if (enq_flags & SX_ENQ_LAST)
		scx_bpf_kick_cpu(scx_bpf_task_cpu(p), 0);
}

static __always_inline void layers_note_run(struct fair_task *t, struct fair_cpu *c)
{
	if (t->kind == LAYER_BACKGROUND && c->run == FAIR_RUN_TASK) {
		c->run = FAIR_RUN_YIELDING;
		c->curr_order = ~0ULL;
	}
}

void SX_OPS(layers_dispatch, s32 cpu, struct task_struct *prev)
{
	struct fair_cpu *c = fair_cpu(cpu);
	struct fair_task *t = NULL;
	u64 now = sx_now();

	if (!c || cg_take_late(now))
		return;
	if (prev && fair_is_queued(prev))
		t = fair_task(prev);
	if (t) {
		layers_charge(prev, t, now);
		layers_classify(prev, t, now);
		/* Not going on, it comes to enqueue. */
		if (layers_is_over(prev, t, now))
			t = NULL;
	}
	target_choose(cpu, c, prev, t);
	if (t)
		layers_note_run(t, c);
}

void SX_OPS(layers_runnable, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);
	u64 now = sx_now();

	if (!t)
		return;
	layers_classify(p, t, now);
	if (!t->cg_known)
		cg_enter(t, BPF_CORE_READ(p, sched_task_group, css.cgroup));
	cg_join(t, fair_weight(p));
	layers_look(p, t, 0, now);
	if (t->batch) {
		group_wake(t);
		return;
	}
	fair_load_add(p, t);
	fair_wake(p, t, enq_flags);
	if (t->kind == LAYER_LATENCY)
		layers_prefer(p, t, 0, now);
}

void SX_OPS(layers_running, struct task_struct *p)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));
	struct fair_task *t = fair_task(p);

	if (!t || !c)
		return;
	/* From the queue of those who are parked, or on the way from there. */
	cg_unparked(t);
	if (!t->joined)
		cg_join(t, fair_weight(p));
	if (!t->batch) {
		fair_running(p, t, c);
		layers_note_run(t, c);
		return;
	}
	if (t->slice_ns && c->grant_ns == batch_slice_ns)
		c->grant_ns = t->slice_ns;
	batch_running(p, t, c);
}

void SX_OPS(layers_stopping, struct task_struct *p, bool runnable)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));
	struct fair_task *t = fair_task(p);

	if (t)
		layers_charge(p, t, sx_now());
	if (c)
		c->run = FAIR_RUN_OTHER;
}

void SX_OPS(layers_quiescent, struct task_struct *p, u64 deq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t)
		return;
	fair_load_sub(t);
	cg_leave(t);
	cg_unparked(t);
	if (__sync_lock_test_and_set(&t->counted, 0))
		__sync_fetch_and_sub(&nr_batch, 1);
	batch_sleep(p, t, deq_flags);
}

bool SX_OPS(layers_yield, struct task_struct *from, struct task_struct *to)
{
	struct fair_task *t = fair_task(from);

	if (!t || to)
		return false;
	layers_charge(from, t, sx_now());
	if (t->batch)
		group_yield(from, t);
	else
		fair_yield(from, t);
	return false;
}

void SX_OPS(layers_cpu_offline, s32 cpu)
{
	fair_cpu_offline(cpu);
	batch_cpu_offline(cpu);
	fair_drain(CG_PARKED_DSQ, cpu);
}

s32 SX_OPS_SLEEPABLE(layers_cgroup_init, struct cgroup *cgrp, struct scx_cgroup_init_args *args)
{
	cg_begin(cgrp, args->weight);
	return 0;
}

void SX_OPS_SLEEPABLE(layers_cgroup_exit, struct cgroup *cgrp)
{
	cg_end(cgrp);
}

void SX_OPS(layers_cgroup_move, struct task_struct *p, struct cgroup *from, struct cgroup *to)
{
	struct fair_task *t = fair_task(p);

	if (t)
		cg_enter(t, to);
}

void SX_OPS(layers_cgroup_set_weight, struct cgroup *cgrp, u32 weight)
{
	struct cg *g = cg_own(cgrp);

	if (g)
		cg_set_weight(g, weight);
}

void SX_OPS(layers_cgroup_set_bandwidth, struct cgroup *cgrp, u64 period_us, u64 quota_us,
	    u64 burst_us)
{
	struct cg *g = cg_own(cgrp);

	if (g)
		cg_set_limit_us(g, period_us, quota_us, burst_us);
}

void SX_OPS(layers_cgroup_set_idle, struct cgroup *cgrp, bool idle)
{
	struct cg *g = cg_own(cgrp);

	if (!g)
		return;
	g->idle = idle;
	cg_set_share(g);
}

s32 SX_OPS_SLEEPABLE(layers_init)
{
	s32 err = fair_init() ?: batch_init_core();

	nr_batch = 0;
	return err ?: cg_init_core();
}

SEC(".struct_ops.link")
struct sched_ext_ops layers_ops = {
	.select_cpu = (void *)fair_op_select_cpu,
	.enqueue = (void *)layers_enqueue,
	.dispatch = (void *)layers_dispatch,
	.runnable = (void *)layers_runnable,
	.running = (void *)layers_running,
	.stopping = (void *)layers_stopping,
	.quiescent = (void *)layers_quiescent,
	.yield = (void *)layers_yield,
	.cpu_release = (void *)fair_op_cpu_release,
	.cpu_online = (void *)fair_op_cpu_online,
	.cpu_offline = (void *)layers_cpu_offline,
	.enable = (void *)fair_op_enable,
	.disable = (void *)fair_op_disable,
	.init_task = (void *)fair_op_init_task,
	.exit_task = (void *)fair_op_exit_task,
	.cgroup_init = (void *)layers_cgroup_init,
	.cgroup_exit = (void *)layers_cgroup_exit,
	.cgroup_move = (void *)layers_cgroup_move,
	.cgroup_set_weight = (void *)layers_cgroup_set_weight,
	.cgroup_set_bandwidth = (void *)layers_cgroup_set_bandwidth,
	.cgroup_set_idle = (void *)layers_cgroup_set_idle,
	.init = (void *)layers_init,
	.exit = (void *)fair_op_exit,
	.flags = SCX_OPS_ENQ_LAST,
	.timeout_ms = 30000,
	.name = "scx_layers",
};
