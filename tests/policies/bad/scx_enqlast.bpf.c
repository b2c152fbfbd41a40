// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX009
/*
 * Wants to be told of the last task of a CPU, but has no enqueue that could be. Bad:
 * the kernel refuses that flag without the callback.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

/* Everything else is the kernel's default. */

void SX_OPS(enqlast_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops enqlast_ops = {
	.flags = SCX_OPS_ENQ_LAST,
	.exit = (void *)enqlast_exit,
	.timeout_ms = 5000,
	.name = "scx_enqlast",
};
