// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX302
/*
 * Creates ten thousand queues to be ready for anything. Bad: the kernel has no limit
 * for them; attaching blocks and takes memory that nobody can get back.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

#define QUEUES 10000

void SX_OPS(dsqflood_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(dsqflood_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(dsqflood_init)
{
	s32 i, err = 0;

	bpf_for(i, 0, QUEUES)
		err = err ?: scx_bpf_create_dsq(SHARED_DSQ + i, -1);
	return err;
}

void SX_OPS(dsqflood_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops dsqflood_ops = {
	.enqueue = (void *)dsqflood_enqueue,
	.dispatch = (void *)dsqflood_dispatch,
	.init = (void *)dsqflood_init,
	.exit = (void *)dsqflood_exit,
	.timeout_ms = 5000,
	.name = "scx_dsqflood",
};
