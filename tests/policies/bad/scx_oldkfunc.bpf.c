// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX012
/*
 * Takes tasks by the name that function had before Linux 6.13, without asking whether
 * it is there. Bad: the kernels of today do not offer it any more, and the branch is
 * always reached.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

void SX_OPS(oldkfunc_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(oldkfunc_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_bpf_consume___s(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(oldkfunc_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(oldkfunc_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops oldkfunc_ops = {
	.enqueue = (void *)oldkfunc_enqueue,
	.dispatch = (void *)oldkfunc_dispatch,
	.init = (void *)oldkfunc_init,
	.exit = (void *)oldkfunc_exit,
	.timeout_ms = 5000,
	.name = "scx_oldkfunc",
};
