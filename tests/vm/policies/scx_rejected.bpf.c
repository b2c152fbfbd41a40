// SPDX-License-Identifier: GPL-2.0
/* Broken on purpose: writes where the kernel's verifier lets no policy write. */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

void SX_OPS(rejected_enqueue, struct task_struct *p, u64 enq_flags)
{
	p->prio = 1;
	sx_insert(p, SX_DSQ_GLOBAL, 5000000, enq_flags);
}

void SX_OPS(rejected_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops rejected_ops = {
	.enqueue = (void *)rejected_enqueue,
	.exit = (void *)rejected_exit,
	.timeout_ms = 5000,
	.name = "scx_rejected",
};
