// SPDX-License-Identifier: GPL-2.0
// expect: stage=kernel rule=settle
/*
 * Its init gives up with an error. Bad: attaching still returns a link; that nothing
 * runs shows in the state and in the exit record only.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(initfail_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

s32 SX_OPS_SLEEPABLE(initfail_init)
{
	return -SX_ENOMEM;
}

void SX_OPS(initfail_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops initfail_ops = {
	.enqueue = (void *)initfail_enqueue,
	.init = (void *)initfail_init,
	.exit = (void *)initfail_exit,
	.timeout_ms = 5000,
	.name = "scx_initfail",
};
