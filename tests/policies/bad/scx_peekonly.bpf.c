// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX111
/*
 * Waiting tasks' numbers in a FIFO map. Bad: dispatch looks at the first one and never
 * takes it out, so that all behind it are lost.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4096);
	__type(value, s32);
} waiting SEC(".maps");

struct task_struct *bpf_task_from_pid(s32 pid) SX_KFUNC;
void bpf_task_release(struct task_struct *p) SX_KFUNC;

void SX_OPS(peekonly_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 pid = p->pid, cpu;

	if (bpf_map_push_elem(&waiting, &pid, 0)) {
		sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
		return;
	}
	cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);
	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(peekonly_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_struct *p;
	s32 pid;

	if (bpf_map_peek_elem(&waiting, &pid))
		return;
	p = bpf_task_from_pid(pid);
	if (!p)
		return;
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, 0);
	bpf_task_release(p);
}

void SX_OPS(peekonly_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops peekonly_ops = {
	.enqueue = (void *)peekonly_enqueue,
	.dispatch = (void *)peekonly_dispatch,
	.exit = (void *)peekonly_exit,
	.timeout_ms = 5000,
	.name = "scx_peekonly",
};
