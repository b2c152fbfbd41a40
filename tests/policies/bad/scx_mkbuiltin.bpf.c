// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX107
/*
 * Creates the global queue "to be sure that it is there". Bad: the ids of built-in
 * queues cannot be created; init fails and the policy never comes up.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(mkbuiltin_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

s32 SX_OPS_SLEEPABLE(mkbuiltin_init)
{
	return scx_bpf_create_dsq(SX_DSQ_GLOBAL, -1);
}

void SX_OPS(mkbuiltin_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops mkbuiltin_ops = {
	.enqueue = (void *)mkbuiltin_enqueue,
	.init = (void *)mkbuiltin_init,
	.exit = (void *)mkbuiltin_exit,
	.timeout_ms = 5000,
	.name = "scx_mkbuiltin",
};
