// SPDX-License-Identifier: GPL-2.0
/* Broken on purpose: passes the verifier, then queues tasks where there is no queue. */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

void SX_OPS(bogus_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, 0xdeadbeef, 5000000, enq_flags);
}

void SX_OPS(bogus_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops bogus_ops = {
	.enqueue = (void *)bogus_enqueue,
	.exit = (void *)bogus_exit,
	.timeout_ms = 5000,
	.name = "scx_bogus",
};
