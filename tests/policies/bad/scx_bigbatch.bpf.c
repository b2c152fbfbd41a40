// SPDX-License-Identifier: GPL-2.0
// expect: stage=kernel rule=attach
/*
 * Wants to dispatch four billion tasks at once. Bad: the kernel refuses to attach a
 * policy with a batch of more than 2^31 - 1, and says no more than E2BIG.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(bigbatch_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(bigbatch_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops bigbatch_ops = {
	.enqueue = (void *)bigbatch_enqueue,
	.dispatch_max_batch = 0xffffffff,
	.exit = (void *)bigbatch_exit,
	.timeout_ms = 5000,
	.name = "scx_bigbatch",
};
