// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX008
/*
 * Asks the watchdog to wait for a minute. Bad: the kernel allows 30 seconds at most,
 * and attaching fails with E2BIG.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(timeout_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(timeout_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops timeout_ops = {
	.enqueue = (void *)timeout_enqueue,
	.exit = (void *)timeout_exit,
	.timeout_ms = 60000,
	.name = "scx_timeout",
};
