// SPDX-License-Identifier: GPL-2.0
/*
 * scx_powersave: the machine's work on as few CPUs as serve it without long waits,
 * so that the others can sleep deeply.
 *
 * Policy: some CPUs are active, the others rest.  Only active CPUs are given tasks that
 * wake up, and are woken for tasks that wait; among them all tasks share fairly, as under
 * scx_fair.  Another CPU becomes active as soon as a task has waited for wait_bound_ns,
 * or tasks waited for more than pressure_percent of the last window.  One is given rest
 * when those that remain would be busy for less than pack_percent of the time; the least
 * busy one.
 *
 * The CPU that becomes active is the first in the order of capacity (little cores first),
 * last-level cache, core: so the threads of a core fill up before the next core, and a
 * cache before the next one.  CPUs are asked for the frequency that their load needs.
 *
 * At rest is not out of use.  Tasks that may not run on any active CPU make one of theirs
 * active; kernel threads and pinned tasks run where they have to; and a CPU that is awake
 * for one of them serves the queues as any other, before it goes back to sleep.
 *
 * Suits: light and bursty loads on battery, or where heat or noise counts.
 *
 * Does not suit: anything measured by throughput or by its slowest answer: every rise of
 * the load has to wait once before there are CPUs for it.  Hosts that use cpu.weight,
 * cpu.max or cpu.idle, as for scx_fair.
 *
 * kfuncs: those of scx_fair, select_cpu_and and the cpumasks; cpuperf_cap and cpuperf_set
 * where present.  Kernel 6.16 or later.
 */
#include "scx_compat.bpf.h"

static bool powersave_kick_idle(struct task_struct *p);
static s32 powersave_select_cpu(struct task_struct *p, s32 prev_cpu, u64 wake_flags);

#define FAIR_BY_LLC
#define FAIR_KICK_IDLE(p) powersave_kick_idle(p)
#define FAIR_SELECT_CPU(p, cpu, flags) powersave_select_cpu(p, cpu, flags)
#include "scx_fair_ops.bpf.h"
#include "scx_perf.bpf.h"

char _license[] SEC("license") = "GPL";

/* Another CPU becomes active when a task has waited for this long, in ns ... */
const volatile u64 wait_bound_ns = 5000000;
/* ... or tasks waited for so many per cent of the time of the active CPUs. */
const volatile u32 pressure_percent = 20;
/* A CPU may rest if the other ones would be busy for less than this part of the time ... */
const volatile u32 pack_percent = 70;
/* ... in the last window of this length, in ns ... */
const volatile u64 window_ns = 100000000;
/* ... and none has become active for this long, in ns. */
const volatile u64 hold_ns = 1000000000;
/* The least that a CPU is asked for, of its highest frequency. */
const volatile u32 perf_min_percent = 10;

u64 nr_woken;	 /* CPUs that became active as tasks waited */
u64 nr_confined; /* ... as a task may run on no other */
u64 nr_rested;	 /* CPUs that were given rest */
u64 nr_late;	 /* tasks that had waited for longer than the bound */
u64 nr_active;	 /* CPUs active */

enum powersave_const {
	POWERSAVE_GROW_NS = 1000000, /* between two CPUs that become active */
	POWERSAVE_CORE_BITS = 16,    /* of the order: capacity, cache, core, CPU */
	POWERSAVE_CPU_BITS = 16,
	POWERSAVE_LLC_BITS = 8,
};

struct powersave_cpu {
	u64 order;   /* less becomes active first */
	u64 busy_ns; /* in this window, with tasks that could run elsewhere */
	u64 wait_ns; /* ... what such tasks had waited that began to run here */
	struct perf_cpu perf;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FAIR_MAX_CPUS);
	__type(key, u32);
	__type(value, struct powersave_cpu);
} powersave_cpus SEC(".maps");

struct powersave_mask {
	struct bpf_cpumask __kptr *active;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct powersave_mask);
} powersave_masks SEC(".maps");

/* Where the kernel keeps what it knows of each CPU's place (x86). */
extern const struct cpuinfo_x86 cpu_info __ksym __weak;

static u64 window_at, grown_at; /* when the window began, and when a CPU became active */

static __always_inline struct powersave_cpu *powersave_cpu(s32 cpu)
{
	u32 key = cpu;

	return bpf_map_lookup_elem(&powersave_cpus, &key);
}

static __always_inline struct bpf_cpumask *powersave_active(void)
{
	u32 key = 0;
	struct powersave_mask *m = bpf_map_lookup_elem(&powersave_masks, &key);

	return m ? m->active : NULL;
}

#define POWERSAVE_MASK(mask) ((const struct cpumask *)(mask))

/* ---- which CPUs are active --------------------------------------------------- */

/* Several may do this at once: at worst one CPU too many or too few, for a window. */
static void powersave_wake(struct bpf_cpumask *active, s32 cpu)
{
	bpf_cpumask_set_cpu(cpu, active);
	scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

/* @p waits for too long: the next CPU that it may run on becomes active. */
static void powersave_grow(struct task_struct *p, u64 now)
{
	struct bpf_cpumask *active = powersave_active();
	u64 since = grown_at, first = -1ULL;
	const struct cpumask *online;
	s32 target = -1, cpu;

	if (!active || nr_active >= nr_online || now - since < POWERSAVE_GROW_NS ||
	    __sync_val_compare_and_swap(&grown_at, since, now) != since)
		return;
	online = scx_bpf_get_online_cpumask();
	bpf_for(cpu, 0, FAIR_MAX_CPUS) {
		struct powersave_cpu *c = powersave_cpu(cpu);

		if (!c || cpu >= (s32)nr_cpu_ids)
			break;
		if (c->order >= first || !bpf_cpumask_test_cpu(cpu, online) ||
		    !bpf_cpumask_test_cpu(cpu, p->cpus_ptr) ||
		    bpf_cpumask_test_cpu(cpu, POWERSAVE_MASK(active)))
			continue;
		first = c->order;
		target = cpu;
	}
	scx_bpf_put_cpumask(online);
	if (target < 0)
		return;
	SX_COUNT(nr_active);
	SX_COUNT(nr_woken);
	powersave_wake(active, target);
}

/* What happened since the window began. */
struct powersave_sums {
	u64 busy_ns, wait_ns;
	u64 least_ns, last; /* of the CPU that is least needed: its busy time and its order */
	s32 least;
};

static void powersave_sum(struct bpf_cpumask *active, struct powersave_sums *sums)
{
	s32 cpu;

	bpf_for(cpu, 0, FAIR_MAX_CPUS) {
		struct powersave_cpu *c = powersave_cpu(cpu);
		u64 busy;

		if (!c || cpu >= (s32)nr_cpu_ids)
			break;
		busy = c->busy_ns;
		sums->busy_ns += busy;
		sums->wait_ns += c->wait_ns;
		c->busy_ns = c->wait_ns = 0;
		if (!bpf_cpumask_test_cpu(cpu, POWERSAVE_MASK(active)))
			continue;
		if (sums->least >= 0 &&
		    (busy > sums->least_ns || (busy == sums->least_ns && c->order < sums->last)))
			continue;
		sums->least_ns = busy;
		sums->last = c->order;
		sums->least = cpu;
	}
}

/* At the end of a window: are there too few CPUs, or too many?  One CPU does this. */
static void powersave_review(struct task_struct *p, u64 now)
{
	struct bpf_cpumask *active = powersave_active();
	struct powersave_sums sums = { .least = -1 };
	u64 since = window_at, ns = now - since, cpus;

	if (!active || (s64)ns < (s64)window_ns ||
	    __sync_val_compare_and_swap(&window_at, since, now) != since)
		return;
	powersave_sum(active, &sums);
	cpus = bpf_cpumask_weight(POWERSAVE_MASK(active));
	nr_active = cpus;
	if (sums.wait_ns * 100 > ns * cpus * pressure_percent) {
		powersave_grow(p, now);
	} else if (cpus > 1 && sums.least >= 0 && now - grown_at > hold_ns &&
		   sums.busy_ns * 100 < ns * (cpus - 1) * pack_percent) {
		nr_active = cpus - 1;
		SX_COUNT(nr_rested);
		bpf_cpumask_clear_cpu(sums.least, active);
	}
}

/* An active CPU for @p, @cpu if it is one; -1 if there is none. */
static s32 powersave_home(struct bpf_cpumask *active, struct task_struct *p, s32 cpu)
{
	u32 other;

	if (bpf_cpumask_test_cpu(cpu, POWERSAVE_MASK(active)))
		return cpu;
	other = bpf_cpumask_any_and_distribute(POWERSAVE_MASK(active), p->cpus_ptr);
	return other < nr_cpu_ids ? (s32)other : -1;
}

/* Wake a CPU for @p, which was queued; false if it has to wait for one that is busy. */
static bool powersave_kick_idle(struct task_struct *p)
{
	struct bpf_cpumask *active = powersave_active();
	s32 cpu = scx_bpf_task_cpu(p), home, idle;
	struct fair_cpu *c;

	if (!active || fair_is_pinned(p))
		return fair_kick_idle(p);
	if (p->migration_disabled) {
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
		return false;
	}
	idle = sx_select_cpu_and(p, cpu, 0, POWERSAVE_MASK(active));
	if (idle >= 0) {
		scx_bpf_kick_cpu(idle, SX_KICK_IDLE);
		return true;
	}
	home = powersave_home(active, p, cpu);
	if (home < 0) {
		SX_COUNT(nr_confined);
		powersave_wake(active, cpu);
		return fair_kick_idle(p);
	}
	/* It may have looked into the queue just before, and be about to go idle. */
	scx_bpf_kick_cpu(home, SX_KICK_IDLE);
	c = fair_cpu(home);
	/* A real-time task has it, perhaps: then it has no ticks of ours to see who waits. */
	if (c && c->run == FAIR_RUN_OTHER)
		powersave_grow(p, sx_now());
	return false;
}

/* ---- accounts ---------------------------------------------------------------- */

static __always_inline void powersave_set_perf(s32 cpu, struct powersave_cpu *c, u64 now)
{
	perf_update(cpu, &c->perf, now, PERF_ONE * perf_min_percent / 100);
}

static void powersave_charge(struct task_struct *p, struct fair_task *t, s32 cpu)
{
	struct powersave_cpu *c = powersave_cpu(cpu);
	u64 ran = t->ran_ns;

	fair_charge(p, t);
	if (!c)
		return;
	c->perf.busy_ns += t->ran_ns - ran;
	if (!fair_is_pinned(p))
		c->busy_ns += t->ran_ns - ran;
}

/* ---- ops ------------------------------------------------------------------------ */

static s32 powersave_select_cpu(struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	struct bpf_cpumask *active = powersave_active();
	s32 cpu;

	if (!active)
		return fair_select_cpu(p, prev_cpu, wake_flags);
	cpu = sx_select_cpu_and(p, prev_cpu, wake_flags, POWERSAVE_MASK(active));
	if (cpu >= 0) {
		SX_COUNT(nr_direct);
		sx_insert(p, SX_DSQ_LOCAL, slice_ns, 0);
		return cpu;
	}
	cpu = powersave_home(active, p, prev_cpu);
	return cpu >= 0 ? cpu : prev_cpu;
}

void SX_OPS(powersave_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t) {
		sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
		return;
	}
	t->queued_at = fair_is_pinned(p) ? 0 : sx_now();
	fair_enqueue(p, t, enq_flags);
}

void SX_OPS(powersave_dispatch, s32 cpu, struct task_struct *prev)
{
	struct fair_cpu *c = fair_cpu(cpu);
	struct fair_task *t = NULL;
	struct fair_head head;

	if (!c)
		return;
	if (prev && fair_is_queued(prev))
		t = fair_task(prev);
	if (t)
		powersave_charge(prev, t, cpu);
	fair_find(cpu, c, t ? prev : NULL, t, &head);
	fair_pick(cpu, c, t ? prev : NULL, t, &head);
}

/* Whoever waits, waits for a CPU that is busy, and so has ticks. */
void SX_OPS(powersave_tick, struct task_struct *p)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct powersave_cpu *pc = powersave_cpu(cpu);
	struct fair_cpu *c = fair_cpu(cpu);
	struct task_struct *waiting;
	u64 now = sx_now();

	if (!c || !pc)
		return;
	powersave_set_perf(cpu, pc, now);
	bpf_for_each(scx_dsq, waiting, FAIR_DSQ_SHARED + fair_domain(c), 0) {
		struct fair_task *t = fair_task(waiting);

		if (t && t->queued_at && (s64)(now - t->queued_at) > (s64)wait_bound_ns)
			powersave_grow(waiting, now);
		break;
	}
}

void SX_OPS(powersave_runnable, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t)
		return;
	fair_load_add(p, t);
	fair_wake(p, t, enq_flags);
}

void SX_OPS(powersave_running, struct task_struct *p)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct powersave_cpu *pc = powersave_cpu(cpu);
	struct fair_cpu *c = fair_cpu(cpu);
	struct fair_task *t = fair_task(p);
	u64 now = sx_now();

	if (!t || !c || !pc)
		return;
	fair_running(p, t, c);
	if (t->queued_at && before(t->queued_at, now)) {
		pc->wait_ns += now - t->queued_at;
		if (now - t->queued_at > wait_bound_ns) {
			SX_COUNT(nr_late);
			powersave_grow(p, now);
		}
	}
	t->queued_at = 0;
	powersave_set_perf(cpu, pc, now);
	powersave_review(p, now);
}

void SX_OPS(powersave_stopping, struct task_struct *p, bool runnable)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct fair_cpu *c = fair_cpu(cpu);
	struct fair_task *t = fair_task(p);

	if (t)
		powersave_charge(p, t, cpu);
	if (c)
		c->run = FAIR_RUN_OTHER;
}

void SX_OPS(powersave_quiescent, struct task_struct *p, u64 deq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t)
		return;
	fair_load_sub(t);
	t->queued_at = 0;
}

bool SX_OPS(powersave_yield, struct task_struct *from, struct task_struct *to)
{
	struct fair_task *t = fair_task(from);

	if (t && !to)
		fair_yield(from, t);
	return false;
}

void SX_OPS(powersave_cpu_offline, s32 cpu)
{
	struct bpf_cpumask *active = powersave_active();

	/* Were it the last one: who finds no active CPU makes one active, see powersave_home(). */
	if (active)
		bpf_cpumask_clear_cpu(cpu, active);
	fair_cpu_offline(cpu);
}

/* Little cores first, then by cache, then the threads of a core together. */
static u64 powersave_order(s32 cpu)
{
	const struct cpuinfo_x86 *info = NULL;
	struct fair_cpu *c = fair_cpu(cpu);
	u64 order = 0, core = cpu;

	if (bpf_ksym_exists(&cpu_info))
		info = bpf_per_cpu_ptr(&cpu_info, cpu);
	if (info && bpf_core_field_exists(info->topo.logical_core_id))
		core = info->topo.logical_core_id;
	if (bpf_ksym_exists(scx_bpf_cpuperf_cap))
		order = scx_bpf_cpuperf_cap(cpu);
	order = order << POWERSAVE_LLC_BITS | (c ? fair_domain(c) : 0);
	order = order << POWERSAVE_CORE_BITS | (core & ((1 << POWERSAVE_CORE_BITS) - 1));
	return order << POWERSAVE_CPU_BITS | (u32)cpu;
}

/* All CPUs are active at first: what runs already is not to be squeezed together. */
static s32 powersave_init_masks(void)
{
	struct bpf_cpumask *active = bpf_cpumask_create();
	const struct cpumask *online;
	struct powersave_mask *m;
	u32 key = 0;
	s32 cpu;

	if (!active)
		return -SX_ENOMEM;
	online = scx_bpf_get_online_cpumask();
	bpf_for(cpu, 0, FAIR_MAX_CPUS) {
		struct powersave_cpu *c = powersave_cpu(cpu);

		if (!c || cpu >= (s32)nr_cpu_ids)
			break;
		__builtin_memset(c, 0, sizeof(*c));
		c->order = powersave_order(cpu);
		c->perf.asked = PERF_ONE;
		if (bpf_cpumask_test_cpu(cpu, online))
			bpf_cpumask_set_cpu(cpu, active);
	}
	scx_bpf_put_cpumask(online);
	m = bpf_map_lookup_elem(&powersave_masks, &key);
	if (m)
		active = bpf_kptr_xchg(&m->active, active);
	if (active)
		bpf_cpumask_release(active);
	return 0;
}

s32 SX_OPS_SLEEPABLE(powersave_init)
{
	s32 err = fair_init();

	window_at = grown_at = sx_now();
	nr_active = nr_online;
	return err ?: powersave_init_masks();
}

SEC(".struct_ops.link")
struct sched_ext_ops powersave_ops = {
	.select_cpu = (void *)fair_op_select_cpu,
	.enqueue = (void *)powersave_enqueue,
	.dispatch = (void *)powersave_dispatch,
	.tick = (void *)powersave_tick,
	.runnable = (void *)powersave_runnable,
	.running = (void *)powersave_running,
	.stopping = (void *)powersave_stopping,
	.quiescent = (void *)powersave_quiescent,
	.yield = (void *)powersave_yield,
	.cpu_release = (void *)fair_op_cpu_release,
	.cpu_online = (void *)fair_op_cpu_online,
	.cpu_offline = (void *)powersave_cpu_offline,
	.enable = (void *)fair_op_enable,
	.disable = (void *)fair_op_disable,
	.init_task = (void *)fair_op_init_task,
	.exit_task = (void *)fair_op_exit_task,
	.init = (void *)powersave_init,
	.exit = (void *)fair_op_exit,
	.timeout_ms = 30000,
	.name = "scx_powersave",
};
