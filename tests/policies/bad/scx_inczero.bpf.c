// SPDX-License-Identifier: GPL-2.0
// expect: stage=compile rule=COMPILE
/*
 * Includes a device that never ends. Bad: a compiler without limits reads it until the
 * machine has no memory left.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#include "/dev/zero"

#define SLICE_NS 5000000

void SX_OPS(inczero_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(inczero_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops inczero_ops = {
	.enqueue = (void *)inczero_enqueue,
	.exit = (void *)inczero_exit,
	.timeout_ms = 5000,
	.name = "scx_inczero",
};
