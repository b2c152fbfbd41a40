// SPDX-License-Identifier: GPL-2.0
// expect: stage=compile rule=COMPILE
/*
 * Four gigabytes of initialised data. Bad: ten lines of source must not fill the
 * memory or the disk of the verifier.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

char ballast[1ULL << 32] = { 1 };

#define SLICE_NS 5000000

void SX_OPS(giant_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(giant_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops giant_ops = {
	.enqueue = (void *)giant_enqueue,
	.exit = (void *)giant_exit,
	.timeout_ms = 5000,
	.name = "scx_giant",
};
