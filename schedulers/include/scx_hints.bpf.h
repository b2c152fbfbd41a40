// SPDX-License-Identifier: GPL-2.0
/*
 * Longest expected remaining CPU time first, as an order for scx_batch_core.bpf.h.
 *
 * User space writes into the map hints what it expects a process to use in all; it
 * may do so at any time, before or after the process is queued.  hint_order() reads
 * it anew each time that it is asked.  What remains is that less what the process has
 * used so far.  A hint that was too small grows: once it is used up, the process is
 * expected to need as much again as it has used.  So is a process without a hint, but
 * never less than prior_ns.
 *
 * That order alone would have all jobs end together, at the very end: each gives way
 * as soon as a little less of it remains than of another.  So progress counts only as
 * long as more remains than an ordinary job needs in all, which is a moving average
 * of the hints.  Long jobs go first until what remains of them is ordinary; ordinary
 * ones run to completion.  Expectations are compared by their binary logarithm, as
 * they are no better than that, and what is equal goes by age.
 */
#ifndef SCX_HINTS_BPF_H
#define SCX_HINTS_BPF_H

#include "scx_batch_core.bpf.h"

/* A process without a hint is expected to need at least this much more, in ns. */
const volatile u64 prior_ns = 4000000000;
/*
 * It goes before all others until it has used this much, in ns: only once it has got
 * as far as its exec can anybody say how long it will take, and vfork() waits for that.
 */
const volatile u64 first_ns = 10000000;

u64 nr_hinted;	 /* times that a task was ranked by a hint */
u64 nr_unhinted; /* ... without one */

#define HINT_NS_MAX (1ULL << 60) /* of 36 years */

enum hint_const {
	HINT_MAX = 65536,
	HINT_AVERAGE = 8,		      /* an average over about so many hints */
	HINT_AGE_BITS = BATCH_ORDER_BITS - 6, /* 6 bits for the logarithm; age by 262 us */
};

struct hint_task {
	u64 seen_ns; /* sum_exec_runtime of the task that its process has been charged with */
	u64 used_ns; /* of a group leader: CPU time of the process */
	u64 hint_ns; /* ... the hint that is in the average */
};

static u64 hint_ordinary_ns;

/* Process (tgid) to the CPU time, in ns, that it is expected to use in all. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HINT_MAX);
	__type(key, u32);
	__type(value, u64);
} hints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct hint_task);
} hint_tasks SEC(".maps");

/*
 * Charge the process of @p with what @p has used; returns its account, or NULL.
 * Threads that neither ran nor woke up since the policy was attached do not count.
 */
static struct hint_task *hint_charge(struct task_struct *p)
{
	struct hint_task *task, *process;
	u64 ran = p->se.sum_exec_runtime;

	task = bpf_task_storage_get(&hint_tasks, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	process = bpf_task_storage_get(&hint_tasks, p->group_leader, NULL,
				       BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!task || !process)
		return NULL;
	__sync_fetch_and_add(&process->used_ns, ran - task->seen_ns);
	task->seen_ns = ran;
	return process;
}

/* Another hint counts; that the average is read and written at once may cost one. */
static void hint_count(struct hint_task *process, u64 hint_ns)
{
	u64 was = hint_ordinary_ns ?: hint_ns;

	process->hint_ns = hint_ns;
	hint_ordinary_ns = was - was / HINT_AVERAGE + hint_ns / HINT_AVERAGE;
}

/* Without branches: the analysis of the policy follows each way through it. */
static __always_inline u64 hint_log2(u64 value)
{
	value |= value >> 1;
	value |= value >> 2;
	value |= value >> 4;
	value |= value >> 8;
	value |= value >> 16;
	value |= value >> 32;
	return __builtin_popcountll(value >> 1);
}

/* What a process that has used so much is expected to need yet, as far as it counts. */
static u64 hint_remaining(struct hint_task *process, const u64 *hint, u64 used)
{
	u64 total, left, ordinary;

	if (!hint)
		return used > prior_ns ? used : prior_ns;
	total = *hint < HINT_NS_MAX ? *hint : HINT_NS_MAX;
	if (process && process->hint_ns != total)
		hint_count(process, total);
	if (total <= used)
		total = 2 * used;
	left = total - used;
	ordinary = total < hint_ordinary_ns ? total : hint_ordinary_ns;
	return left > ordinary ? left : ordinary;
}

/* The order of @p in the batch: less goes first. */
static u64 hint_order(struct task_struct *p)
{
	struct hint_task *process = hint_charge(p);
	u64 used = p->se.sum_exec_runtime;
	u32 tgid = p->tgid;
	u64 *hint = bpf_map_lookup_elem(&hints, &tgid);

	/* Else the compiler loads by one of two pointers, which the verifier refuses. */
	barrier_var(used);
	if (process)
		used = process->used_ns;
	if (hint)
		SX_COUNT(nr_hinted);
	else
		SX_COUNT(nr_unhinted);
	if (!hint && used < first_ns)
		return 0;
	return (63 - hint_log2(hint_remaining(process, hint, used))) << HINT_AGE_BITS |
	       batch_age_order(p) >> (BATCH_ORDER_BITS - HINT_AGE_BITS);
}

#endif /* SCX_HINTS_BPF_H */
