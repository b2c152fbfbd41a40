// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=exit-kind
/*
 * Has an exit callback, which only counts. Bad: the record of why it ended stays
 * empty, as if it were still running.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(mute_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

u64 nr_exits;

u64 nr_hotplug;

void SX_OPS(mute_cpu_online, s32 cpu)
{
	SX_COUNT(nr_hotplug);
}

void SX_OPS(mute_cpu_offline, s32 cpu)
{
	SX_COUNT(nr_hotplug);
}

void SX_OPS(mute_exit, struct scx_exit_info *ei)
{
	SX_COUNT(nr_exits);
	sx_exit.cpu = 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops mute_ops = {
	.enqueue = (void *)mute_enqueue,
	.cpu_online = (void *)mute_cpu_online,
	.cpu_offline = (void *)mute_cpu_offline,
	.exit = (void *)mute_exit,
	.timeout_ms = 5000,
	.name = "scx_mute",
};
