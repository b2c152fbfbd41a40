// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * A task that wakes up takes an idle CPU at once, else it waits in the built-in global
 * queue. Sound: both queues are the kernel's own, which drains them on every CPU.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

s32 SX_OPS(idlefirst_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool idle = false;
	s32 cpu = scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &idle);

	if (idle)
		sx_insert(p, SX_DSQ_LOCAL, SLICE_NS, 0);
	return cpu;
}

void SX_OPS(idlefirst_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(idlefirst_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops idlefirst_ops = {
	.select_cpu = (void *)idlefirst_select_cpu,
	.enqueue = (void *)idlefirst_enqueue,
	.exit = (void *)idlefirst_exit,
	.timeout_ms = 5000,
	.name = "scx_idlefirst",
};
