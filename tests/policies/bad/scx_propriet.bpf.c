// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX001
/*
 * A global FIFO under a licence that is not the GPL. Bad: the kernel refuses it;
 * better to say so before it is loaded.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "Proprietary";

#define SLICE_NS 5000000

void SX_OPS(propriet_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(propriet_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops propriet_ops = {
	.enqueue = (void *)propriet_enqueue,
	.exit = (void *)propriet_exit,
	.timeout_ms = 5000,
	.name = "scx_propriet",
};
