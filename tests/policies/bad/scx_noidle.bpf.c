// SPDX-License-Identifier: GPL-2.0
// expect: stage=static rule=SCX101
/*
 * Looks for an idle CPU in a loop and hands the task over there. Bad: when no CPU is
 * idle the task is queued nowhere.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

bool scx_bpf_test_and_clear_cpu_idle(s32 cpu) SX_KFUNC;

void SX_OPS(noidle_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 nr = scx_bpf_nr_cpu_ids(), cpu;

	bpf_for(cpu, 0, nr) {
		if (!bpf_cpumask_test_cpu(cpu, p->cpus_ptr))
			continue;
		if (!scx_bpf_test_and_clear_cpu_idle(cpu))
			continue;
		sx_insert(p, SX_DSQ_LOCAL_ON | (u64)cpu, SLICE_NS, enq_flags);
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
		break;
	}
}

void SX_OPS(noidle_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops noidle_ops = {
	.enqueue = (void *)noidle_enqueue,
	.exit = (void *)noidle_exit,
	.timeout_ms = 5000,
	.name = "scx_noidle",
};
