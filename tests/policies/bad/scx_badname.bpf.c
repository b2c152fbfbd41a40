// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX007
/*
 * A name with a blank in it. Bad: the kernel refuses to attach a scheduler of such a
 * name without a word of explanation.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(badname_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(badname_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops badname_ops = {
	.enqueue = (void *)badname_enqueue,
	.exit = (void *)badname_exit,
	.timeout_ms = 5000,
	.name = "scx bad name",
};
