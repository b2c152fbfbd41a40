// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=wakeups
/*
 * A task that is woken by one which is about to sleep waits in a queue that a CPU serves
 * when it has nothing else to do. Bad: the wake-up is lost for as long as others want to
 * run, and only for tasks that wake each other through a pipe.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000
#define SHARED_DSQ 1
#define SYNC_DSQ 2
#define SX_WAKE_SYNC SX_ENUM(scx_wake_flags, SCX_WAKE_SYNC)

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} synced SEC(".maps");

static __always_inline u64 *lostwake_sync(struct task_struct *p)
{
	return bpf_task_storage_get(&synced, p, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

s32 SX_OPS(lostwake_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	u64 *sync = lostwake_sync(p);

	if (sync)
		*sync = !(p->flags & SX_PF_KTHREAD) && (wake_flags & SX_WAKE_SYNC);
	return prev_cpu;
}

void SX_OPS(lostwake_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 *sync = lostwake_sync(p);
	bool later = sync && *sync && (enq_flags & SX_ENQ_WAKEUP);

	sx_insert(p, later ? SYNC_DSQ : SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(lostwake_dispatch, s32 cpu, struct task_struct *prev)
{
	if (sx_consume(SHARED_DSQ))
		return;
	if (prev && (prev->scx.flags & SX_TASK_QUEUED))
		sx_set_slice(prev, SLICE_NS);
	else
		sx_consume(SYNC_DSQ);
}

s32 SX_OPS_SLEEPABLE(lostwake_init)
{
	s32 err = scx_bpf_create_dsq(SHARED_DSQ, -1);

	return err ?: scx_bpf_create_dsq(SYNC_DSQ, -1);
}

void SX_OPS(lostwake_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops lostwake_ops = {
	.select_cpu = (void *)lostwake_select_cpu,
	.enqueue = (void *)lostwake_enqueue,
	.dispatch = (void *)lostwake_dispatch,
	.init = (void *)lostwake_init,
	.exit = (void *)lostwake_exit,
	.timeout_ms = 5000,
	.name = "scx_lostwake",
};
