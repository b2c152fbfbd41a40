// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * Shortest job first: a task is set back by as long as its last run lasted. Sound: it
 * is set back by 100 ms at most from the moment it is queued, and waiting does not
 * move it.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

#define BACK_MAX_NS 100000000ULL

struct sjf_task {
	u64 start_ns;
	u64 burst_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sjf_task);
} tasks SEC(".maps");

static __always_inline void sjf_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(sjf_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct sjf_task *t = bpf_task_storage_get(&tasks, p, NULL, 0);
	u64 back = t && t->burst_ns < BACK_MAX_NS ? t->burst_ns : BACK_MAX_NS;

	sx_insert_vtime(p, SHARED_DSQ, SLICE_NS, sx_now() + back, enq_flags);
	sjf_kick(p);
}

void SX_OPS(sjf_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

void SX_OPS(sjf_runnable, struct task_struct *p, u64 enq_flags)
{
	struct sjf_task *t;

	t = bpf_task_storage_get(&tasks, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (t)
		t->start_ns = p->se.sum_exec_runtime;
}

void SX_OPS(sjf_stopping, struct task_struct *p, bool runnable)
{
	struct sjf_task *t = bpf_task_storage_get(&tasks, p, NULL, 0);

	if (t)
		t->burst_ns = p->se.sum_exec_runtime - t->start_ns;
}

s32 SX_OPS_SLEEPABLE(sjf_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(sjf_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops sjf_ops = {
	.enqueue = (void *)sjf_enqueue,
	.dispatch = (void *)sjf_dispatch,
	.runnable = (void *)sjf_runnable,
	.stopping = (void *)sjf_stopping,
	.init = (void *)sjf_init,
	.exit = (void *)sjf_exit,
	.timeout_ms = 5000,
	.name = "scx_sjf",
};
