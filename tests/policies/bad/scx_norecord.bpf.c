// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX010
/*
 * A global FIFO that does not keep why it ended. Bad: without the record nobody can
 * tell an ejection from an ordinary end.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(norecord_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops norecord_ops = {
	.enqueue = (void *)norecord_enqueue,
	.timeout_ms = 5000,
	.name = "scx_norecord",
};
