// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=shares
// card: honours = ["nice", "affinity"]
// card: ignores = ["cpu.weight", "cpu.max", "cpu.idle"]
/*
 * A FIFO whose card claims that it honours nice. Bad: every task gets the same share
 * whatever its nice value.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

void SX_OPS(flatnice_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(flatnice_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(flatnice_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(flatnice_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops flatnice_ops = {
	.enqueue = (void *)flatnice_enqueue,
	.dispatch = (void *)flatnice_dispatch,
	.init = (void *)flatnice_init,
	.exit = (void *)flatnice_exit,
	.timeout_ms = 5000,
	.name = "scx_flatnice",
};
