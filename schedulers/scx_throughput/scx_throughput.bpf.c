// SPDX-License-Identifier: GPL-2.0
/*
 * scx_throughput: the tasks of one cgroup take long turns in the order in which they
 * came, on the CPU that they last had; all other tasks share the CPUs fairly, as
 * under scx_fair.
 *
 * Policy: a task of the target cgroup that wakes up queues at the end and cuts nobody
 * short.  Its turn lasts until it sleeps or has used long_slice_ns.  If a task of
 * another cgroup takes the CPU in between, the turn goes on afterwards, before all
 * others.  Tasks that hold a lock or have warm caches therefore mostly get through.
 * To the others the cgroup is one competitor in vtime order, of target_weight per
 * CPU; it gives way to their wake-ups.  While one of them waits for a CPU, who is next
 * there is chosen anew after each slice_ns, also in the middle of a turn.
 *
 * There is one queue for each last-level cache, in order of the begin of turns.  A
 * CPU prefers tasks that it ran last to those that came up to local_ns before them.
 * From another cache it takes those that came steal_ns before all of its own, and
 * whatever there is when its own queue is empty.
 *
 * Nobody waits for long: turns get shorter as the queue gets longer, so that a round
 * takes about round_ns, and a group that is kept off the CPUs for late_ns by the
 * others is given every other turn.
 *
 * Suits: threads that work under short locks, message passing between many threads,
 * data-parallel work in more threads than CPUs: whatever loses by being switched away
 * from in the middle.
 *
 * Does not suit: a cgroup whose own wake-ups are urgent, as they wait for all turns
 * before theirs; threads that wait for each other by spinning, unless they spin for
 * less than a turn; wishes about nice values or unequal shares inside the cgroup;
 * hosts that use cpu.weight, cpu.max or cpu.idle, as for scx_fair.
 *
 * kfuncs: those of scx_fair.  Kernel 6.16 or later.
 */
#define FAIR_BY_LLC
#include "scx_target_ops.bpf.h"

char _license[] SEC("license") = "GPL";

/* Target: cgroup v2 id (inode number of its directory), 0 for none. */
const volatile u64 target_cgid = 0;
/* Target: depth of that cgroup, 0 for the root. */
const volatile u32 target_level = 0;
/* Weight of the target cgroup per CPU; a task of nice 0 has 1024. */
const volatile u64 target_weight = 1024;
/*
 * A turn of a task of the cgroup, in ns of CPU time.  Longer than locks are held: to
 * end a turn under a lock costs much more than to wait for the end of another one.
 */
const volatile u64 long_slice_ns = 100000000;
/* Turns are shorter when so many tasks wait that a round would take longer, in ns. */
const volatile u64 round_ns = 1000000000;
/* A CPU runs its own tasks first, even if others queued up to this much earlier, in ns ... */
const volatile u64 local_ns = 10000000;
/* ... and those of another cache only if these queued so much earlier, in ns. */
const volatile u64 steal_ns = 200000000;
/* Who waits longer than this runs every other turn whatever the weights, in ns. */
const volatile u64 late_ns = 6000000000;

u64 nr_turns;	/* turns begun */
u64 nr_resumed; /* turns that went on after somebody else had the CPU */
u64 nr_local;	/* tasks taken by the CPU that ran them last */
u64 nr_moved;	/* ... by another CPU */
u64 nr_stolen;	/* ... from the queue of another cache */
u64 nr_stayed;	/* times that a running task went on as nobody's turn came first */
u64 nr_halted;	/* slices of turns that ended as a task of another cgroup came to wait */

enum throughput_const {
	THROUGHPUT_DSQ = 0x600000, /* one for each cache: fair_domain() */
};

/*
 * In this class fair_task.order is the time at which a turn began to wait, and
 * .burst_ns is the CPU time that it has used.
 */
static void throughput_begin_turn(struct fair_task *t)
{
	SX_COUNT(nr_turns);
	t->order = sx_now();
	t->burst_ns = 0;
}

/* How long turns are now on the CPUs that share a cache with @c. */
static u64 throughput_turn_ns(struct fair_cpu *c)
{
	u64 waiting = scx_bpf_dsq_nr_queued(THROUGHPUT_DSQ + fair_domain(c));
	u64 ns = round_ns * group_cpus() / FAIR_DOMAINS() / (waiting + 1);

	return ns > long_slice_ns ? long_slice_ns : ns > slice_ns ? ns : slice_ns;
}

static bool target_is_member(struct task_struct *p)
{
	return target_has(p, target_cgid, target_level);
}

static void target_rank(struct task_struct *p, struct fair_task *t, bool joins)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));

	if (joins || t->yielded || (c && t->burst_ns >= throughput_turn_ns(c)))
		throughput_begin_turn(t);
}

static void target_charge(struct task_struct *p, struct fair_task *t)
{
	group_charge(p, t, target_weight);
}

static void target_runnable(struct task_struct *p, struct fair_task *t, u64 enq_flags)
{
	if (enq_flags & SX_ENQ_WAKEUP)
		throughput_begin_turn(t);
}

static void target_enqueue(struct task_struct *p, struct fair_task *t, u64 enq_flags)
{
	struct fair_cpu *c = fair_cpu(scx_bpf_task_cpu(p));

	t->on_line = 0;
	if (!c) {
		sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
		return;
	}
	if (t->burst_ns)
		SX_COUNT(nr_resumed);
	sx_insert_vtime(p, THROUGHPUT_DSQ + fair_domain(c), slice_ns, t->order, enq_flags);
	fair_kick_idle(p);
}

/* Run @p, for at most @most_ns unless that is 0. */
static void throughput_run(struct task_struct *p, struct fair_task *t, struct fair_cpu *c,
			   u64 most_ns)
{
	u64 turn = throughput_turn_ns(c), left = turn > t->burst_ns ? turn - t->burst_ns : 0;

	if (left < slice_ns)
		left = slice_ns;
	t->yielded = 0;
	group_note_run(c, target_weight);
	sx_set_slice(p, most_ns && most_ns < left ? most_ns : left);
}

static void target_running(struct task_struct *p, struct fair_task *t, struct fair_cpu *c)
{
	t->ran_ns = p->se.sum_exec_runtime;
	throughput_run(p, t, c, c->grant_ns);
}

/* One that came in the middle of a long slice would have to wait for its end. */
void SX_OPS(throughput_tick, struct task_struct *p)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct fair_cpu *c = fair_cpu(cpu);
	struct fair_task *t = fair_task(p);

	if (!t || !c || !t->batch || sx_now() - c->curr_at < slice_ns)
		return;
	if (!scx_bpf_dsq_nr_queued(FAIR_DSQ_SHARED + fair_domain(c)) &&
	    !scx_bpf_dsq_nr_queued(FAIR_DSQ_PINNED + cpu))
		return;
	SX_COUNT(nr_halted);
	sx_set_slice(p, 0);
}

static void target_quiescent(struct task_struct *p, struct fair_task *t, u64 deq_flags)
{
}

static void target_find(struct fair_cpu *c, struct group_head *head)
{
	struct fair_search best = { .dsq = THROUGHPUT_DSQ, .margin = steal_ns };

	fair_search(head->cpu, c, &best);
	head->dsq = best.dsq;
	head->key = best.key;
	head->found = best.found;
	head->late = best.found && before(best.key + late_ns, sx_now());
}

/* Take a task that ran here last, if it does not overtake the head by much. */
static bool throughput_take_local(struct group_head *head)
{
	bool taken = false;
	struct task_struct *p;
	u32 seen = 0;

	bpf_for_each(scx_dsq, p, head->dsq, 0) {
		if (++seen > FAIR_PEEK_MAX || before(head->key + local_ns, p->scx.dsq_vtime))
			break;
		if (scx_bpf_task_cpu(p) != head->cpu ||
		    !bpf_cpumask_test_cpu(head->cpu, p->cpus_ptr))
			continue;
		taken = sx_dsq_move(SX_FOR_EACH_ITER, p, SX_DSQ_LOCAL_ON | head->cpu, 0);
		break;
	}
	return taken;
}

static bool throughput_take(struct fair_cpu *c, struct group_head *head)
{
	if (throughput_take_local(head)) {
		SX_COUNT(nr_local);
		return true;
	}
	if (!sx_consume(head->dsq))
		return false;
	if (head->dsq == THROUGHPUT_DSQ + fair_domain(c))
		SX_COUNT(nr_moved);
	else
		SX_COUNT(nr_stolen);
	return true;
}

static bool target_pick(struct fair_cpu *c, struct task_struct *prev, struct fair_task *t,
			struct group_head *head, bool fair_ready)
{
	bool ended = head->found && (!t || t->yielded || before(head->key, t->order));
	u64 most_ns = fair_ready ? slice_ns : 0;

	group_advance(fair_ready);
	if (ended && throughput_take(c, head)) {
		c->contended = 1;
		c->grant_ns = most_ns;
		return true;
	}
	if (!prev || !t)
		return false;
	SX_COUNT(nr_stayed);
	throughput_run(prev, t, c, most_ns);
	return true;
}

static void target_cpu_offline(s32 cpu)
{
	struct fair_cpu *c = fair_cpu(cpu);

	if (c)
		fair_drain(THROUGHPUT_DSQ + fair_domain(c), cpu);
}

static s32 target_init(void)
{
	if (target_cgid)
		load_extra = target_weight * group_cpus();
	return fair_create_queues(THROUGHPUT_DSQ);
}

SEC(".struct_ops.link")
struct sched_ext_ops throughput_ops = {
	.select_cpu = (void *)fair_op_select_cpu,
	.enqueue = (void *)target_op_enqueue,
	.dispatch = (void *)target_op_dispatch,
	.runnable = (void *)target_op_runnable,
	.running = (void *)target_op_running,
	.stopping = (void *)target_op_stopping,
	.tick = (void *)throughput_tick,
	.quiescent = (void *)target_op_quiescent,
	.yield = (void *)target_op_yield,
	.cpu_release = (void *)fair_op_cpu_release,
	.cpu_online = (void *)fair_op_cpu_online,
	.cpu_offline = (void *)target_op_cpu_offline,
	.enable = (void *)fair_op_enable,
	.disable = (void *)fair_op_disable,
	.init_task = (void *)fair_op_init_task,
	.exit_task = (void *)fair_op_exit_task,
	.init = (void *)target_op_init,
	.exit = (void *)fair_op_exit,
	.timeout_ms = 30000,
	.name = "scx_throughput",
};
