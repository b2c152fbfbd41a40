// SPDX-License-Identifier: GPL-2.0
/*
 * runqueue: how long tasks wait for a CPU, and how often they come to rest, by cgroup.
 *
 * The kernel keeps for each task when it was queued last and how long it has
 * waited in all (sched_info, the figures of /proc/PID/schedstat).  A wait is read
 * off when it ends, at the switch to the task: wake-ups need no probe.  A task
 * that is moved to another CPU while it waits is queued anew there, and what it
 * has waited so far goes into the total.  So a wait is by how much the total,
 * with the part that is still open, grew since the task got its last CPU; that
 * total is remembered in task-local storage, the only state there is.
 *
 * A preempted task that stays runnable waits from the switch away from it.  A
 * wait that is not over yet is not seen: a task that starves shows in PSI.
 *
 * What it costs: one program at each switch, which does nothing for the idle
 * task; no clock is read, no lock is taken once a task and its cgroup are known,
 * and CPUs share no counters.
 *
 * A task comes to rest when it sleeps by its own will, or ends: it has done what it
 * had to do until then.  So the rests say how much gets done where nobody counts
 * requests.
 *
 * Cgroups are those of cgroup v2.
 *
 * Kernel 6.16 or later with CONFIG_SCHED_INFO (Debian's have it).
 */
#include <vmlinux.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

/* Known to schedcpd/kernel/latency.py. */
#define SLOTS 32
#define MAX_CGROUPS 2048

struct cgroup_latency {
	u64 waits;
	u64 wait_ns;
	u64 sleeps;
	/* Slot i has the waits of 2^i to 2^(i+1) - 1 ns; the last one all that are longer. */
	u64 slots[SLOTS];
};

/*
 * By cgroup id.  Not allocated ahead: a machine has few cgroups, but each of them
 * takes 280 bytes for every CPU there may be, and the daemon's cgroup is charged.
 * Not LRU, which is allocated ahead and would forget cgroups that are merely quiet:
 * runqueue_rmdir removes those that are gone.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_CGROUPS);
	__type(key, u64);
	__type(value, struct cgroup_latency);
} cgroups SEC(".maps");

struct task_wait {
	/* All that it had waited in its life when it got its last CPU, in ns; 0: never seen. */
	u64 total_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct task_wait);
} tasks SEC(".maps");

extern const struct rq runqueues __ksym;

/* The counters of the task's cgroup on this CPU; NULL when there is no room for more. */
static __always_inline struct cgroup_latency *runqueue_counters(struct task_struct *p)
{
	static const struct cgroup_latency zero;
	u64 id = p->cgroups->dfl_cgrp->kn->id;
	struct cgroup_latency *counters;

	counters = bpf_map_lookup_elem(&cgroups, &id);
	if (counters)
		return counters;
	/* Another CPU may have been faster, which is as good. */
	bpf_map_update_elem(&cgroups, &id, &zero, BPF_NOEXIST);
	return bpf_map_lookup_elem(&cgroups, &id);
}

static __always_inline u32 runqueue_slot(u64 ns)
{
	u32 slot = 0, shift;

	if (ns >> (SLOTS - 1))
		return SLOTS - 1;
	for (shift = SLOTS / 2; shift; shift /= 2) {
		if (ns >> shift) {
			ns >>= shift;
			slot += shift;
		}
	}
	return slot;
}

static __always_inline void runqueue_count_sleep(struct task_struct *p)
{
	struct cgroup_latency *counters = runqueue_counters(p);

	if (counters)
		counters->sleeps++;
}

/* The kernel adds the open part to the total, and clears it, only after this tracepoint. */
static __always_inline void runqueue_count_wait(struct task_struct *next)
{
	u64 queued, total, wait;
	struct cgroup_latency *counters;
	struct task_wait *known;
	const struct rq *rq;
	u32 slot;

	queued = next->sched_info.last_queued;
	if (!queued)
		return;
	rq = bpf_this_cpu_ptr(&runqueues);
	wait = rq->clock - queued;
	if ((s64)wait < 0)
		wait = 0;
	total = next->sched_info.run_delay + wait;
	known = bpf_task_storage_get(&tasks, next, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!known)
		return;
	/* Of a task that ran before the probe came only the open part is known to be this wait's. */
	if (known->total_ns || !next->sched_info.pcount)
		wait = total - known->total_ns;
	known->total_ns = total;

	counters = runqueue_counters(next);
	if (!counters)
		return;
	slot = runqueue_slot(wait);
	counters->waits++;
	counters->wait_ns += wait;
	counters->slots[slot & (SLOTS - 1)]++;
}

/* Interrupts are off: nothing else counts on this CPU meanwhile. */
SEC("tp_btf/sched_switch")
int BPF_PROG(runqueue_switch, bool preempt, struct task_struct *prev, struct task_struct *next,
	     unsigned int prev_state)
{
	if (prev->pid && !preempt && prev_state)
		runqueue_count_sleep(prev);
	if (next->pid)
		runqueue_count_wait(next);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(runqueue_rmdir, struct cgroup *cgroup)
{
	u64 id = cgroup->kn->id;

	bpf_map_delete_elem(&cgroups, &id);
	return 0;
}
