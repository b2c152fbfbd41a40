// SPDX-License-Identifier: GPL-2.0
/* Broken on purpose: whoever runs keeps the CPU, so ordinary tasks freeze until the watchdog. */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define FOREVER_NS (~0ULL)

void SX_OPS(hog_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, FOREVER_NS, enq_flags);
}

void SX_OPS(hog_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops hog_ops = {
	.enqueue = (void *)hog_enqueue,
	.exit = (void *)hog_exit,
	.timeout_ms = 3000,
	.name = "scx_hog",
};
