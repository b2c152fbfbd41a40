// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=runnable
/*
 * Keeps a count per task and gives up when there is no room for it. Bad: the early
 * return of a failed lookup leaves the task in no queue, and the lookup never creates
 * the entry.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} runs SEC(".maps");

void SX_OPS(nostore_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 *count = bpf_task_storage_get(&runs, p, NULL, 0);

	if (!count)
		return;
	*count += 1;
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(nostore_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops nostore_ops = {
	.enqueue = (void *)nostore_enqueue,
	.exit = (void *)nostore_exit,
	.timeout_ms = 5000,
	.name = "scx_nostore",
};
