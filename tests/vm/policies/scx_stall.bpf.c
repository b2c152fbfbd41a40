// SPDX-License-Identifier: GPL-2.0
/* Broken on purpose: passes the verifier, then loses every task of an ordinary user. */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

void SX_OPS(stall_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (p->cred->uid.val < 1000)
		sx_insert(p, SX_DSQ_GLOBAL, 5000000, enq_flags);
}

void SX_OPS(stall_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops stall_ops = {
	.enqueue = (void *)stall_enqueue,
	.exit = (void *)stall_exit,
	.timeout_ms = 2000,
	.name = "scx_stall",
};
