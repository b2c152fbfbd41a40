// SPDX-License-Identifier: GPL-2.0
// expect: stage=compile rule=COMPILE
/*
 * Includes a file of the host by a path that climbs out of the source's folder. Bad:
 * nothing of the host but the headers for policies may be seen by the compiler.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#include "../../../../../../../../../../etc/hostname"

#define SLICE_NS 5000000

void SX_OPS(incup_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(incup_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops incup_ops = {
	.enqueue = (void *)incup_enqueue,
	.exit = (void *)incup_exit,
	.timeout_ms = 5000,
	.name = "scx_incup",
};
