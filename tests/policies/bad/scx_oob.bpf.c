// SPDX-License-Identifier: GPL-2.0
// expect: stage=kernel rule=load
/*
 * Counts per process in an array, indexed by the number of the process. Bad: the index
 * has no bound; the kernel's verifier refuses the access.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

u64 counts[64];

void SX_OPS(oob_enqueue, struct task_struct *p, u64 enq_flags)
{
	counts[p->tgid]++;
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(oob_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops oob_ops = {
	.enqueue = (void *)oob_enqueue,
	.exit = (void *)oob_exit,
	.timeout_ms = 5000,
	.name = "scx_oob",
};
