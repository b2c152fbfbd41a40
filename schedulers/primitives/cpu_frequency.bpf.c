// SPDX-License-Identifier: GPL-2.0
/*
 * CPU frequency that follows the load.
 *
 * Without it the schedutil governor runs every CPU at full speed while a sched_ext
 * policy is attached. perf_update asks for the frequency that the load of a CPU
 * needs, quickly more and slowly less, from the time that it was busy; where the
 * kernel has no such kfunc nothing happens.
 *
 * Use: battery, heat and noise: every policy for machines whose CPUs change their
 * frequency.
 *
 * Needs: scx_perf.bpf.h, a struct perf_cpu for each CPU to whose busy_ns the
 * policy adds, and an op that holds the lock of that CPU's runqueue.
 *
 * Not for: other governors than schedutil: they do not listen to the scheduler.
 */
#include "scx_perf.bpf.h"

char _license[] SEC("license") = "GPL";

enum example_const {
	EXAMPLE_CPUS = 1024
};

static struct perf_cpu perf_cpus[EXAMPLE_CPUS];

void SX_OPS(example_tick, struct task_struct *p)
{
	s32 cpu = scx_bpf_task_cpu(p);
	struct perf_cpu *c = &perf_cpus[(u32)cpu % EXAMPLE_CPUS];

	perf_update(cpu, c, sx_now(), PERF_ONE / 10);
}
