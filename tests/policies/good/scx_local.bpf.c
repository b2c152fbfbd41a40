// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * The built-in local queues and nothing else; the kernel's own choice of a CPU spreads
 * the tasks. Sound: each CPU runs its queue in turn, and no other queue has to wait until
 * a local one is empty.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(local_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

void SX_OPS(local_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops local_ops = {
	.enqueue = (void *)local_enqueue,
	.exit = (void *)local_exit,
	.timeout_ms = 5000,
	.name = "scx_local",
};
