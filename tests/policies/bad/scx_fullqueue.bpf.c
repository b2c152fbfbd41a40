// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=fork-storm
/*
 * Keeps the waiting tasks in a BPF queue map of twelve places. Bad: what does not fit
 * is dropped without a word, which happens only in a storm of new tasks.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 12);
	__type(value, s32);
} waiting SEC(".maps");

struct task_struct *bpf_task_from_pid(s32 pid) SX_KFUNC;
void bpf_task_release(struct task_struct *p) SX_KFUNC;

void SX_OPS(fullqueue_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 pid = p->pid;

	if (p->flags & SX_PF_KTHREAD || p->nr_cpus_allowed == 1)
		sx_insert(p, SX_DSQ_LOCAL, SLICE_NS, enq_flags);
	else
		bpf_map_push_elem(&waiting, &pid, 0);
}

void SX_OPS(fullqueue_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_struct *p;
	s32 pid;

	if (bpf_map_pop_elem(&waiting, &pid))
		return;
	p = bpf_task_from_pid(pid);
	if (!p)
		return;
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, 0);
	bpf_task_release(p);
}

void SX_OPS(fullqueue_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops fullqueue_ops = {
	.enqueue = (void *)fullqueue_enqueue,
	.dispatch = (void *)fullqueue_dispatch,
	.exit = (void *)fullqueue_exit,
	.timeout_ms = 5000,
	.name = "scx_fullqueue",
};
