// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * Looks through the waiting tasks for the one with the least weight-scaled credit and
 * moves that one. Sound: it looks at 32 at most, one that has waited for 50 ms is taken
 * at once, and what was not moved is taken from the head.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 2000000
#define LATE_NS 50000000ULL
#define POOL_DSQ 42
#define LOOK_MAX 32

struct credit_task {
	u64 since;
	u64 credit;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct credit_task);
} tasks SEC(".maps");

u64 nr_moved;

void SX_OPS(credit_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct credit_task *c =
		bpf_task_storage_get(&tasks, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	s32 cpu;

	if (c)
		c->since = sx_now();
	sx_insert(p, POOL_DSQ, SLICE_NS, enq_flags);
	cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

static s32 pick(s32 cpu)
{
	u64 best = ~0ULL, now = sx_now();
	struct task_struct *p;
	struct credit_task *c;
	s32 seen = 0, pid = -1;

	bpf_for_each(scx_dsq, p, POOL_DSQ, 0) {
		if (++seen > LOOK_MAX)
			break;
		if (!bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
			continue;
		c = bpf_task_storage_get(&tasks, p, NULL, 0);
		if (!c || now - c->since > LATE_NS)
			return p->pid;
		if (c->credit < best) {
			best = c->credit;
			pid = p->pid;
		}
	}
	return pid;
}

void SX_OPS(credit_dispatch, s32 cpu, struct task_struct *prev)
{
	s32 pid = pick(cpu), seen = 0;
	struct task_struct *p;
	bool moved = false;

	if (pid < 0)
		goto head;
	bpf_for_each(scx_dsq, p, POOL_DSQ, 0) {
		if (++seen > LOOK_MAX)
			break;
		if (p->pid != pid)
			continue;
		moved = sx_dsq_move(SX_FOR_EACH_ITER, p, SX_DSQ_LOCAL_ON | (u64)cpu, 0);
		break;
	}
	if (moved) {
		SX_COUNT(nr_moved);
		return;
	}
head:
	sx_consume(POOL_DSQ);
}

void SX_OPS(credit_stopping, struct task_struct *p, bool runnable)
{
	struct credit_task *c = bpf_task_storage_get(&tasks, p, NULL, 0);

	if (c)
		c->credit += (SLICE_NS - p->scx.slice) * 100 / (p->scx.weight ?: 1);
}

s32 SX_OPS_SLEEPABLE(credit_init)
{
	return scx_bpf_create_dsq(POOL_DSQ, -1);
}

void SX_OPS(credit_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops credit_ops = {
	.enqueue = (void *)credit_enqueue,
	.dispatch = (void *)credit_dispatch,
	.stopping = (void *)credit_stopping,
	.init = (void *)credit_init,
	.exit = (void *)credit_exit,
	.timeout_ms = 5000,
	.name = "scx_credit",
};
