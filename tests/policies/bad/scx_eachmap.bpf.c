// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX301
/*
 * Ages all records of tasks at each tick. Bad: there may be half a million, and the tick
 * runs with interrupts off.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 500000);
	__type(key, s32);
	__type(value, u64);
} ages SEC(".maps");

static long age(struct bpf_map *map, s32 *pid, u64 *value, void *ctx)
{
	*value /= 2;
	return 0;
}

void SX_OPS(eachmap_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 one = 1, *n;
	s32 pid = p->pid;

	n = bpf_map_lookup_elem(&ages, &pid);
	if (n)
		*n += 1000;
	else
		bpf_map_update_elem(&ages, &pid, &one, BPF_ANY);
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(eachmap_tick, struct task_struct *p)
{
	bpf_for_each_map_elem(&ages, age, NULL, 0);
}

void SX_OPS(eachmap_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops eachmap_ops = {
	.enqueue = (void *)eachmap_enqueue,
	.tick = (void *)eachmap_tick,
	.exit = (void *)eachmap_exit,
	.timeout_ms = 5000,
	.name = "scx_eachmap",
};
