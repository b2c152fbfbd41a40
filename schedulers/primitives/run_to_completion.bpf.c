// SPDX-License-Identifier: GPL-2.0
/*
 * An order to run to completion in, without starving who waits.
 *
 * Tasks run in a given order, most of them to completion, and still every waiting
 * task gets a sip of sip_ns once per epoch, so that it can release what others
 * wait for and the kernel's watchdog finds no stall. One queue ordered by epoch
 * and order does it: no scans, no timers. Tasks in system calls or RCU readers
 * count as due at once.
 *
 * Use: batches of many CPU-bound jobs: fewer jobs in progress, warmer caches,
 * earlier results.
 *
 * Needs: scx_batch_core.bpf.h, whose comment lists which of its functions each op
 * calls; fair_task.order is set by the policy.
 *
 * Not for: tasks that wait for each other by spinning, servers, and more than
 * about 1000 waiting tasks per CPU.
 */
#include "scx_batch_core.bpf.h"

char _license[] SEC("license") = "GPL";

void SX_OPS(example_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct fair_task *t = fair_task(p);

	if (!t) {
		sx_insert(p, SX_DSQ_GLOBAL, slice_ns, enq_flags);
		return;
	}
	t->batch = true;
	t->order = batch_age_order(p);
	batch_enqueue_task(p, t, enq_flags);
}

void SX_OPS(example_dispatch, s32 cpu, struct task_struct *prev)
{
	struct fair_cpu *c = fair_cpu(cpu);
	struct group_head head = { .cpu = cpu };

	if (!c)
		return;
	batch_find(c, &head);
	if (head.found)
		batch_pick(c, NULL, NULL, &head, false);
}
