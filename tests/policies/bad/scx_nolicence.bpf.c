// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX001
/*
 * A global FIFO without a licence section. Bad: the kernel lets GPL programs only call
 * what a scheduler needs.
 */
#include "scx_compat.bpf.h"

#define SLICE_NS 5000000

void SX_OPS(nolicence_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(nolicence_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops nolicence_ops = {
	.enqueue = (void *)nolicence_enqueue,
	.exit = (void *)nolicence_exit,
	.timeout_ms = 5000,
	.name = "scx_nolicence",
};
