// SPDX-License-Identifier: GPL-2.0
// expect: stage=kernel rule=settle
/*
 * Half a second after it was attached it begins to kick a neighbour whenever a CPU becomes
 * idle. Bad: the neighbour's number is in a variable, which holds 5000; the kernel ejects
 * the policy for a CPU that is not there (kind 1024).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000
#define WARM_UP_NS 450000000ULL

s32 neighbour = 5000;
static u64 since;

void SX_OPS(wildkick_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(wildkick_update_idle, s32 cpu, bool idle)
{
	if (idle && sx_now() - since > WARM_UP_NS)
		scx_bpf_kick_cpu(neighbour, SX_KICK_IDLE);
}

s32 SX_OPS_SLEEPABLE(wildkick_init)
{
	since = sx_now();
	return 0;
}

void SX_OPS(wildkick_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops wildkick_ops = {
	.enqueue = (void *)wildkick_enqueue,
	.update_idle = (void *)wildkick_update_idle,
	.init = (void *)wildkick_init,
	.exit = (void *)wildkick_exit,
	.flags = SCX_OPS_KEEP_BUILTIN_IDLE,
	.timeout_ms = 5000,
	.name = "scx_wildkick",
};
