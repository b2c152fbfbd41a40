// SPDX-License-Identifier: GPL-2.0
// expect: pass
/*
 * A queue for each CPU and slices of 20 ms, so that tasks stay where their caches are.
 * Sound: a CPU takes from another one's queue what has waited for 40 ms longer than
 * its own first task, so that nobody is left on a CPU that is busy or gone.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 20000000
#define STALE_NS 40000000ULL
#define CPUS_MAX 64
#define NOBODY (~0ULL)

u64 nr_hotplug;

static __always_inline void sticky_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

static __always_inline u64 sticky_head(u64 dsq)
{
	struct task_struct *p;
	u64 since = NOBODY;

	bpf_for_each(scx_dsq, p, dsq, 0) {
		since = p->scx.dsq_vtime;
		break;
	}
	return since;
}

void SX_OPS(sticky_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert_vtime(p, scx_bpf_task_cpu(p), SLICE_NS, sx_now(), enq_flags);
	sticky_kick(p);
}

void SX_OPS(sticky_dispatch, s32 cpu, struct task_struct *prev)
{
	u32 nr = scx_bpf_nr_cpu_ids();
	u64 own = sticky_head(cpu), at;
	s32 i;

	bpf_for(i, 0, CPUS_MAX) {
		if (i >= (s32)nr)
			break;
		at = sticky_head(i);
		if (i == cpu || at == NOBODY || (own != NOBODY && at + STALE_NS > own))
			continue;
		if (sx_consume(i))
			return;
	}
	sx_consume(cpu);
}

void SX_OPS(sticky_cpu_online, s32 cpu)
{
	SX_COUNT(nr_hotplug);
}

void SX_OPS(sticky_cpu_offline, s32 cpu)
{
	SX_COUNT(nr_hotplug);
}

s32 SX_OPS_SLEEPABLE(sticky_init)
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

void SX_OPS(sticky_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops sticky_ops = {
	.enqueue = (void *)sticky_enqueue,
	.dispatch = (void *)sticky_dispatch,
	.cpu_online = (void *)sticky_cpu_online,
	.cpu_offline = (void *)sticky_cpu_offline,
	.init = (void *)sticky_init,
	.exit = (void *)sticky_exit,
	.timeout_ms = 5000,
	.name = "scx_sticky",
};
