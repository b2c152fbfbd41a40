// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=reattach
/*
 * Creates its queue in the first init only and remembers that in a variable. Bad: the
 * queue goes with the first attachment, the variable stays; the second attachment has
 * no queue.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

static bool ready;

void SX_OPS(onceinit_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(onceinit_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

s32 SX_OPS_SLEEPABLE(onceinit_init)
{
	if (ready)
		return 0;
	ready = true;
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

u64 nr_hotplug;

void SX_OPS(onceinit_cpu_online, s32 cpu)
{
	SX_COUNT(nr_hotplug);
}

void SX_OPS(onceinit_cpu_offline, s32 cpu)
{
	SX_COUNT(nr_hotplug);
}

void SX_OPS(onceinit_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops onceinit_ops = {
	.enqueue = (void *)onceinit_enqueue,
	.dispatch = (void *)onceinit_dispatch,
	.cpu_online = (void *)onceinit_cpu_online,
	.cpu_offline = (void *)onceinit_cpu_offline,
	.init = (void *)onceinit_init,
	.exit = (void *)onceinit_exit,
	.timeout_ms = 5000,
	.name = "scx_onceinit",
};
