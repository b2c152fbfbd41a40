// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * Feedback queues: a task that uses up its slices sinks by a level, one that sleeps is
 * back at the top. Sound: a level is worth 20 ms of waiting and there are five, all in
 * one queue in order of time.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

#define LEVELS 5
#define LEVEL_NS 20000000ULL

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} levels SEC(".maps");

static __always_inline void mlfq_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(mlfq_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 *level = bpf_task_storage_get(&levels, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	u64 at = 0;

	if (level) {
		if (enq_flags & SX_ENQ_WAKEUP)
			*level = 0;
		else if (*level < LEVELS - 1)
			*level += 1;
		at = *level;
	}
	sx_insert_vtime(p, SHARED_DSQ, SLICE_NS, sx_now() + at * LEVEL_NS, enq_flags);
	mlfq_kick(p);
}

void SX_OPS(mlfq_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(mlfq_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(mlfq_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops mlfq_ops = {
	.enqueue = (void *)mlfq_enqueue,
	.dispatch = (void *)mlfq_dispatch,
	.init = (void *)mlfq_init,
	.exit = (void *)mlfq_exit,
	.timeout_ms = 5000,
	.name = "scx_mlfq",
};
