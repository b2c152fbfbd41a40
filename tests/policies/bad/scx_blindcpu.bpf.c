// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=pinned
/*
 * Spreads user tasks over the CPUs' local queues by their number. Bad: it does not ask
 * whether the task may run there; the first one that may not ends the policy (kind
 * 1024).
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(blindcpu_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (p->flags & SX_PF_KTHREAD) {
		sx_insert(p, SX_DSQ_LOCAL, SLICE_NS, enq_flags);
		return;
	}
	sx_insert(p, SX_DSQ_LOCAL_ON | (p->pid % scx_bpf_nr_cpu_ids()), SLICE_NS, enq_flags);
}

void SX_OPS(blindcpu_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops blindcpu_ops = {
	.enqueue = (void *)blindcpu_enqueue,
	.exit = (void *)blindcpu_exit,
	.timeout_ms = 5000,
	.name = "scx_blindcpu",
};
