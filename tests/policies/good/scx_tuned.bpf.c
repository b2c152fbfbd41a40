// SPDX-License-Identifier: GPL-2.0
// expect: pass
// card: [tunables.slice_ns]
// card: type = "u64"
// card: unit = "ns"
// card: default = 5000000
// card: min = 1000000
// card: max = 20000000
// card: description = "Longest run while others wait."
// card: [counters.nr_enqueued]
// card: description = "Tasks put in the queue."
// card: [counters.nr_taken]
// card: description = "Times that a CPU found one there."
/*
 * A FIFO whose slice is a tunable, with two counters, as a policy for the repository
 * would have them. Sound: the least and the greatest slice that its card allows are
 * both harmless.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

/* Longest run while others wait, in ns. */
const volatile u64 slice_ns = 5000000;

u64 nr_enqueued; /* tasks put in the queue */
u64 nr_taken;	 /* times that a CPU found one there */

#define SHARED_DSQ 1

static __always_inline void tuned_kick(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	if (cpu >= 0)
		scx_bpf_kick_cpu(cpu, SX_KICK_IDLE);
}

void SX_OPS(tuned_enqueue, struct task_struct *p, u64 enq_flags)
{
	SX_COUNT(nr_enqueued);
	sx_insert(p, SHARED_DSQ, slice_ns, enq_flags);
	tuned_kick(p);
}

void SX_OPS(tuned_dispatch, s32 cpu, struct task_struct *prev)
{
	if (sx_consume(SHARED_DSQ))
		SX_COUNT(nr_taken);
}

s32 SX_OPS_SLEEPABLE(tuned_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

void SX_OPS(tuned_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops tuned_ops = {
	.enqueue = (void *)tuned_enqueue,
	.dispatch = (void *)tuned_dispatch,
	.init = (void *)tuned_init,
	.exit = (void *)tuned_exit,
	.timeout_ms = 5000,
	.name = "scx_tuned",
};
