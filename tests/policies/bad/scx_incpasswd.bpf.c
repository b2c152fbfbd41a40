// SPDX-License-Identifier: GPL-2.0
// expect: stage=compile rule=COMPILE
/*
 * Includes a file of the host as if it were a header. Bad: the diagnostics of the
 * compiler would quote its lines to whoever sent the source.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#include "/etc/passwd"

#define SLICE_NS 5000000

void SX_OPS(incpasswd_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(incpasswd_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops incpasswd_ops = {
	.enqueue = (void *)incpasswd_enqueue,
	.exit = (void *)incpasswd_exit,
	.timeout_ms = 5000,
	.name = "scx_incpasswd",
};
