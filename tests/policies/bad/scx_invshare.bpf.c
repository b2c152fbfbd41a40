// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=shares
// card: honours = ["nice", "affinity"]
// card: ignores = ["cpu.weight", "cpu.max", "cpu.idle"]
/*
 * Virtual time that is multiplied by the weight where it should be divided. Bad: a
 * task of a higher nice value gets more of the CPU, not less.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

#define LAG_NS (2 * SLICE_NS)

static u64 vtime_now;

void SX_OPS(invshare_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 vtime = p->scx.dsq_vtime;

	if ((s64)(vtime - (vtime_now - LAG_NS)) < 0)
		vtime = vtime_now - LAG_NS;
	sx_insert_vtime(p, SHARED_DSQ, SLICE_NS, vtime, enq_flags);
}

void SX_OPS(invshare_dispatch, s32 cpu, struct task_struct *prev)
{
	sx_consume(SHARED_DSQ);
}

void SX_OPS(invshare_running, struct task_struct *p)
{
	if ((s64)(vtime_now - p->scx.dsq_vtime) < 0)
		vtime_now = p->scx.dsq_vtime;
}

void SX_OPS(invshare_stopping, struct task_struct *p, bool runnable)
{
	u64 left = p->scx.slice < SLICE_NS ? p->scx.slice : SLICE_NS;
	u64 weight = p->scx.weight < 20 ? 20 : p->scx.weight < 1000 ? p->scx.weight : 1000;

	sx_set_vtime(p, p->scx.dsq_vtime + (SLICE_NS - left) * weight / 100);
}

void SX_OPS(invshare_enable, struct task_struct *p)
{
	sx_set_vtime(p, vtime_now);
}

s32 SX_OPS_SLEEPABLE(invshare_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(invshare_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops invshare_ops = {
	.enqueue = (void *)invshare_enqueue,
	.dispatch = (void *)invshare_dispatch,
	.running = (void *)invshare_running,
	.stopping = (void *)invshare_stopping,
	.enable = (void *)invshare_enable,
	.init = (void *)invshare_init,
	.exit = (void *)invshare_exit,
	.timeout_ms = 5000,
	.name = "scx_invshare",
};
