// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX303
/*
 * A table of eighty megabytes for statistics. Bad: the memory of a map is the kernel's
 * and cannot be swapped out.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 10000000);
	__type(key, u32);
	__type(value, u64);
} stats SEC(".maps");

void SX_OPS(bigmap_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 key = p->pid;
	u64 *count = bpf_map_lookup_elem(&stats, &key);

	if (count)
		SX_COUNT(*count);
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(bigmap_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops bigmap_ops = {
	.enqueue = (void *)bigmap_enqueue,
	.exit = (void *)bigmap_exit,
	.timeout_ms = 5000,
	.name = "scx_bigmap",
};
