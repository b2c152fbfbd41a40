// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX101
/*
 * Loses every task: enqueue counts it and forgets it. Bad: nothing runs any more until
 * the watchdog ejects the policy.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

u64 nr_seen;

void SX_OPS(loseall_enqueue, struct task_struct *p, u64 enq_flags)
{
	SX_COUNT(nr_seen);
}

void SX_OPS(loseall_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops loseall_ops = {
	.enqueue = (void *)loseall_enqueue,
	.exit = (void *)loseall_exit,
	.timeout_ms = 5000,
	.name = "scx_loseall",
};
