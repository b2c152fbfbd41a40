// SPDX-License-Identifier: GPL-2.0
// expect: stage=kernel rule=load
/*
 * Asks for the mask of the CPUs online and never gives it back. Bad: a reference that
 * is not released; the kernel's verifier refuses to load it.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

u64 nr_first;

void SX_OPS(maskleak_enqueue, struct task_struct *p, u64 enq_flags)
{
	const struct cpumask *online = scx_bpf_get_online_cpumask();

	if (bpf_cpumask_test_cpu(0, online))
		SX_COUNT(nr_first);
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(maskleak_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops maskleak_ops = {
	.enqueue = (void *)maskleak_enqueue,
	.exit = (void *)maskleak_exit,
	.timeout_ms = 5000,
	.name = "scx_maskleak",
};
