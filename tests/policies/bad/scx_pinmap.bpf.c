// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX304
/*
 * Keeps its statistics in a map that is pinned by name. Bad: a pinned map outlives the
 * policy and is shared with whoever pins the same name.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, u32);
	__type(value, u64);
} stats SEC(".maps");

void SX_OPS(pinmap_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 key = 0;
	u64 *count = bpf_map_lookup_elem(&stats, &key);

	if (count)
		SX_COUNT(*count);
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(pinmap_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops pinmap_ops = {
	.enqueue = (void *)pinmap_enqueue,
	.exit = (void *)pinmap_exit,
	.timeout_ms = 5000,
	.name = "scx_pinmap",
};
