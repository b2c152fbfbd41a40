// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * A queue for each CPU; a CPU without work takes from the others. Sound: a task is
 * queued where it may run, an idle CPU is woken for it, and stealing leaves nobody
 * behind on a busy or absent CPU.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define CPUS_MAX 64

static __always_inline void percpu_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(percpu_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, scx_bpf_task_cpu(p), SLICE_NS, enq_flags);
	percpu_kick(p);
}

void SX_OPS(percpu_dispatch, s32 cpu, struct task_struct *prev)
{
	u32 nr = scx_bpf_nr_cpu_ids();
	s32 i;

	if (sx_consume(cpu))
		return;
	bpf_for(i, 0, CPUS_MAX) {
		if (i >= (s32)nr || sx_consume(i))
			break;
	}
}

s32 SX_OPS_SLEEPABLE(percpu_init)
{
	u32 nr = scx_bpf_nr_cpu_ids();
	s32 i, err = 0;

	if (nr > CPUS_MAX)
		return -SX_E2BIG;
	bpf_for(i, 0, CPUS_MAX) {
		if (i < (s32)nr)
			err = err ?: scx_bpf_create_dsq(i, -1);
	}
	return err;
}

void SX_OPS(percpu_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops percpu_ops = {
	.enqueue = (void *)percpu_enqueue,
	.dispatch = (void *)percpu_dispatch,
	.init = (void *)percpu_init,
	.exit = (void *)percpu_exit,
	.timeout_ms = 5000,
	.name = "scx_percpu",
};
