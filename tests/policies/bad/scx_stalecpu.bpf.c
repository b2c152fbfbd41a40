// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=affinity-churn
/*
 * Remembers the CPU of a task the first time that it is pinned, to spare the look-up.
 * Bad: once its affinity is changed to another CPU, it waits in the old one's queue
 * for ever.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} homes SEC(".maps");

#define SHARED_DSQ 2

static u32 turns[2];

void SX_OPS(stalecpu_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 *home = bpf_task_storage_get(&homes, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!home || p->nr_cpus_allowed != 1 || (p->flags & SX_PF_KTHREAD)) {
		sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
		return;
	}
	if (!*home)
		*home = bpf_cpumask_test_cpu(1, p->cpus_ptr) ? 2 : 1;
	sx_insert(p, (*home - 1) & 1, SLICE_NS, enq_flags);
}

void SX_OPS(stalecpu_dispatch, s32 cpu, struct task_struct *prev)
{
	bool shared_first = turns[cpu & 1]++ & 1;

	if (shared_first && sx_consume(SHARED_DSQ))
		return;
	if (!sx_consume(cpu & 1))
		sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(stalecpu_init)
{
	s32 err = scx_bpf_create_dsq(0, -1);

	err = err ?: scx_bpf_create_dsq(1, -1);
	return err ?: scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(stalecpu_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops stalecpu_ops = {
	.enqueue = (void *)stalecpu_enqueue,
	.dispatch = (void *)stalecpu_dispatch,
	.init = (void *)stalecpu_init,
	.exit = (void *)stalecpu_exit,
	.timeout_ms = 5000,
	.name = "scx_stalecpu",
};
