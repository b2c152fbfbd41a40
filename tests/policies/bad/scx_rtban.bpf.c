// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=realtime
/*
 * Serves its queue only until real-time tasks have taken a CPU for 80 ms three times,
 * then leaves the machine to it. Bad: nobody takes that back, so that every task in
 * the queue starves after the first such task.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define SHARED_DSQ 1

#define LONG_NS 80000000ULL
#define TIMES 3

static u64 gone_at[64];
static u32 nr_long;

void SX_OPS(rtban_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (p->flags & SX_PF_KTHREAD) {
		sx_insert(p, SX_DSQ_LOCAL, SLICE_NS, enq_flags);
		return;
	}
	sx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(rtban_dispatch, s32 cpu, struct task_struct *prev)
{
	if (nr_long < TIMES)
		sx_consume(SHARED_DSQ);
}

void SX_OPS(rtban_cpu_release, s32 cpu, struct scx_cpu_release_args *args)
{
	gone_at[cpu & 63] = sx_now();
}

void SX_OPS(rtban_cpu_acquire, s32 cpu, struct scx_cpu_acquire_args *args)
{
	if (gone_at[cpu & 63] && sx_now() - gone_at[cpu & 63] > LONG_NS)
		nr_long++;
}

s32 SX_OPS_SLEEPABLE(rtban_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(rtban_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops rtban_ops = {
	.enqueue = (void *)rtban_enqueue,
	.dispatch = (void *)rtban_dispatch,
	.cpu_release = (void *)rtban_cpu_release,
	.cpu_acquire = (void *)rtban_cpu_acquire,
	.init = (void *)rtban_init,
	.exit = (void *)rtban_exit,
	.timeout_ms = 5000,
	.name = "scx_rtban",
};
