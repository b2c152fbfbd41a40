// SPDX-License-Identifier: GPL-2.0
/*
 * Bad on purpose: helps the tasks of one user at the price of everybody else's.
 * User 1000 has a queue of his own that is served first; the others get a CPU
 * often enough for the watchdog, but wait for it ten times as long.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define FAVOURED 1000
#define OWN_DSQ 1
#define REST_DSQ 2
#define REST_EVERY_NS (60ULL * 1000 * 1000)

u64 rest_served_at;

void SX_OPS(selfish_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (p->flags & SX_PF_KTHREAD)
		sx_insert(p, SX_DSQ_LOCAL, 3000000, enq_flags);
	else
		sx_insert(p, p->cred->uid.val == FAVOURED ? OWN_DSQ : REST_DSQ, 3000000, enq_flags);
}

void SX_OPS(selfish_dispatch, s32 cpu, struct task_struct *prev)
{
	u64 now = sx_now();

	if (now - rest_served_at > REST_EVERY_NS && sx_consume(REST_DSQ)) {
		rest_served_at = now;
		return;
	}
	if (sx_consume(OWN_DSQ))
		return;
	sx_consume(REST_DSQ);
}

s32 SX_OPS_SLEEPABLE(selfish_init)
{
	s32 err = scx_bpf_create_dsq(OWN_DSQ, -1);

	return err ?: scx_bpf_create_dsq(REST_DSQ, -1);
}

void SX_OPS(selfish_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops selfish_ops = {
	.enqueue = (void *)selfish_enqueue,
	.dispatch = (void *)selfish_dispatch,
	.init = (void *)selfish_init,
	.exit = (void *)selfish_exit,
	.timeout_ms = 20000,
	.name = "scx_selfish",
};
