// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX111
/*
 * Remembers the waiting tasks in a BPF queue map. Bad: nothing ever pops from that
 * map, so that every task in it is lost.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4096);
	__type(value, s32);
} waiting SEC(".maps");

void SX_OPS(mapsink_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 pid = p->pid;

	bpf_map_push_elem(&waiting, &pid, 0);
}

u64 nr_idle;

void SX_OPS(mapsink_dispatch, s32 cpu, struct task_struct *prev)
{
	SX_COUNT(nr_idle);
}

void SX_OPS(mapsink_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops mapsink_ops = {
	.enqueue = (void *)mapsink_enqueue,
	.dispatch = (void *)mapsink_dispatch,
	.exit = (void *)mapsink_exit,
	.timeout_ms = 5000,
	.name = "scx_mapsink",
};
