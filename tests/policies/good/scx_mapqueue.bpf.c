// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * Keeps the waiting tasks' numbers in a BPF queue map, which dispatch empties. Sound:
 * what finds no place there goes to the global queue, the CPU of what is taken out is
 * woken, and a number whose task has gone is skipped. Pinned tasks wait there as well:
 * in a built-in queue they would always come first.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define BATCH 8

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4096);
	__type(value, s32);
} waiting SEC(".maps");

struct task_struct *bpf_task_from_pid(s32 pid) SX_KFUNC;
void bpf_task_release(struct task_struct *p) SX_KFUNC;

static __always_inline void mapqueue_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(mapqueue_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 pid = p->pid;

	if (p->flags & SX_PF_KTHREAD) {
		sx_insert(p, SX_DSQ_LOCAL, SLICE_NS, enq_flags);
		return;
	}
	if (bpf_map_push_elem(&waiting, &pid, 0))
		sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
	mapqueue_kick(p);
}

void SX_OPS(mapqueue_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_struct *p;
	s32 pid, i;

	bpf_for(i, 0, BATCH) {
		if (bpf_map_pop_elem(&waiting, &pid))
			break;
		p = bpf_task_from_pid(pid);
		if (!p)
			continue;
		sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, 0);
		scx_bpf_kick_cpu(scx_bpf_task_cpu(p), SX_KICK_IDLE);
		bpf_task_release(p);
	}
}

void SX_OPS(mapqueue_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops mapqueue_ops = {
	.enqueue = (void *)mapqueue_enqueue,
	.dispatch = (void *)mapqueue_dispatch,
	.exit = (void *)mapqueue_exit,
	.timeout_ms = 5000,
	.name = "scx_mapqueue",
};
