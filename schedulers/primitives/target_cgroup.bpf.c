// SPDX-License-Identifier: GPL-2.0
/*
 * Whether a task belongs to a cgroup.
 *
 * target_has says whether a task is in the cgroup with a given cgroup v2 id, or in
 * a descendant of it, from the task's ancestors: no map, no walk. Kernel threads
 * and tasks pinned to one CPU never count.
 *
 * Use: policies for one workload, whose card has tunables with the roles target-id
 * and target-level.
 *
 * Needs: scx_target.bpf.h; the id is the inode number of the cgroup's directory,
 * the level its depth below the root.
 *
 * Not for: many cgroups at once: live_classes looks classes up in a map.
 */
#include "scx_target.bpf.h"

char _license[] SEC("license") = "GPL";

const volatile u64 example_cgid = 0;
const volatile u32 example_level = 0;

u64 nr_of_target;

void SX_OPS(example_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (target_has(p, example_cgid, example_level))
		SX_COUNT(nr_of_target);
	sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
}
