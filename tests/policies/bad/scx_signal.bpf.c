// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX004
/*
 * Sends SIGKILL to the task that has just been queued. Bad: a scheduler must not use
 * helpers that act on processes.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(signal_enqueue, struct task_struct *p, u64 enq_flags)
{
	bpf_send_signal(9);
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(signal_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops signal_ops = {
	.enqueue = (void *)signal_enqueue,
	.exit = (void *)signal_exit,
	.timeout_ms = 5000,
	.name = "scx_signal",
};
