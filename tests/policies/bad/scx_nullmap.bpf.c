// SPDX-License-Identifier: GPL-2.0
// expect: stage=kernel rule=load
/*
 * Counts per CPU in an array and trusts that the lookup finds its entry. Bad: the
 * value may be NULL to the kernel's verifier, which refuses to load the policy.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} counts SEC(".maps");

void SX_OPS(nullmap_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 key = scx_bpf_task_cpu(p);
	u64 *count = bpf_map_lookup_elem(&counts, &key);

	*count += 1;
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(nullmap_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops nullmap_ops = {
	.enqueue = (void *)nullmap_enqueue,
	.exit = (void *)nullmap_exit,
	.timeout_ms = 5000,
	.name = "scx_nullmap",
};
