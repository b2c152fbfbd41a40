// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * Nothing but a name: the kernel's own defaults for everything. Sound: without an
 * enqueue callback tasks go to the global queue, which the kernel drains.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

/* No callbacks of its own but the exit record. */

void SX_OPS(defaults_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops defaults_ops = {
	.exit = (void *)defaults_exit,
	.timeout_ms = 5000,
	.name = "scx_defaults",
};
