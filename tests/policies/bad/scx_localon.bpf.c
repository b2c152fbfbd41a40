// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX107
/*
 * Sends every task to the local queue of CPU 9999. Bad: there is no such CPU; the
 * kernel ejects the policy at once (kind 1024).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define LUCKY_CPU 9999

void SX_OPS(localon_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_LOCAL_ON | LUCKY_CPU, SLICE_NS, enq_flags);
}

void SX_OPS(localon_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops localon_ops = {
	.enqueue = (void *)localon_enqueue,
	.exit = (void *)localon_exit,
	.timeout_ms = 5000,
	.name = "scx_localon",
};
