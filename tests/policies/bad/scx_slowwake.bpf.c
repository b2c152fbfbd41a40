// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=latency
/*
 * Whoever wakes up waits for 300 ms while a few others want to run, so that they keep
 * their caches warm. Bad: nobody starves and no time is lost, but nothing that sleeps
 * is usable any more.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

#define RUN_DSQ 1
#define WAKE_DSQ 2
#define WAIT_NS 300000000ULL
#define FEW 3

void SX_OPS(slowwake_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (p->flags & SX_PF_KTHREAD) {
		sx_insert(p, SX_DSQ_LOCAL, SLICE_NS, enq_flags);
		return;
	}
	if (enq_flags & SX_ENQ_WAKEUP)
		sx_insert_vtime(p, WAKE_DSQ, SLICE_NS, sx_now(), enq_flags);
	else
		sx_insert(p, RUN_DSQ, SLICE_NS, enq_flags);
}

void SX_OPS(slowwake_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_struct *head;
	bool due = scx_bpf_dsq_nr_queued(RUN_DSQ) > FEW;

	bpf_for_each(scx_dsq, head, WAKE_DSQ, 0) {
		due |= sx_now() - head->scx.dsq_vtime > WAIT_NS;
		break;
	}
	if ((due && sx_consume(WAKE_DSQ)) || sx_consume(RUN_DSQ))
		return;
	if (prev && (prev->scx.flags & SX_TASK_QUEUED))
		sx_set_slice(prev, SLICE_NS);
	else
		sx_consume(WAKE_DSQ);
}

s32 SX_OPS_SLEEPABLE(slowwake_init)
{
	s32 err = scx_bpf_create_dsq(RUN_DSQ, -1);

	return err ?: scx_bpf_create_dsq(WAKE_DSQ, -1);
}

void SX_OPS(slowwake_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops slowwake_ops = {
	.enqueue = (void *)slowwake_enqueue,
	.dispatch = (void *)slowwake_dispatch,
	.init = (void *)slowwake_init,
	.exit = (void *)slowwake_exit,
	.timeout_ms = 5000,
	.name = "scx_slowwake",
};
