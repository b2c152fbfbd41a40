// SPDX-License-Identifier: GPL-2.0
// expect: stage=kernel rule=settle
/*
 * Tracks idle CPUs itself and yet wants the kernel to track them per node. Bad: the
 * two exclude each other; the policy is attached and gone at once (kind 1024).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(idlenode_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

u64 nr_idle;

void SX_OPS(idlenode_update_idle, s32 cpu, bool idle)
{
	SX_COUNT(nr_idle);
}

void SX_OPS(idlenode_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops idlenode_ops = {
	.enqueue = (void *)idlenode_enqueue,
	.update_idle = (void *)idlenode_update_idle,
	.flags = SCX_OPS_BUILTIN_IDLE_PER_NODE,
	.exit = (void *)idlenode_exit,
	.timeout_ms = 5000,
	.name = "scx_idlenode",
};
