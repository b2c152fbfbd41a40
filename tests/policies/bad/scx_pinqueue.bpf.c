// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX104
/*
 * A queue for each CPU, and one for tasks pinned to a CPU. Bad: the CPUs take from each
 * other's queues, and nobody from that one.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000
#define CPUS_MAX 64
#define PINNED_DSQ 64

void SX_OPS(pinqueue_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 cpu = scx_bpf_task_cpu(p) & (CPUS_MAX - 1);

	sx_insert(p, p->nr_cpus_allowed == 1 ? PINNED_DSQ : cpu, SLICE_NS, enq_flags);
}

void SX_OPS(pinqueue_dispatch, s32 cpu, struct task_struct *prev)
{
	u32 i;

	if (sx_consume((u32)cpu & (CPUS_MAX - 1)))
		return;
	bpf_for(i, 0, CPUS_MAX) {
		if (sx_consume(i))
			return;
	}
}

s32 SX_OPS_SLEEPABLE(pinqueue_init)
{
	s32 err;
	u32 i;

	bpf_for(i, 0, CPUS_MAX + 1) {
		if ((err = scx_bpf_create_dsq(i, -1)))
			return err;
	}
	return 0;
}

void SX_OPS(pinqueue_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops pinqueue_ops = {
	.enqueue = (void *)pinqueue_enqueue,
	.dispatch = (void *)pinqueue_dispatch,
	.init = (void *)pinqueue_init,
	.exit = (void *)pinqueue_exit,
	.timeout_ms = 5000,
	.name = "scx_pinqueue",
};
