// SPDX-License-Identifier: GPL-2.0
/*
 * Dispatch that chooses between the fair class and a group.
 *
 * target_choose looks at both, the fair queues and those of a group, lets the one
 * with the smaller virtual time go first, falls back to the other, and keeps the
 * running task on when it is still the best. The policy says only what its group
 * has to offer and how to take it.
 *
 * Use: the dispatch op of a policy with a fair class and one more.
 *
 * Needs: scx_choose.bpf.h; the policy defines target_find and target_pick.
 *
 * Not for: more than two classes: order the others inside target_find.
 */
#include "scx_choose.bpf.h"

char _license[] SEC("license") = "GPL";

enum example_const {
	EXAMPLE_DSQ = 1
};

static void target_find(struct fair_cpu *c, struct group_head *head)
{
	head->found = scx_bpf_dsq_nr_queued(EXAMPLE_DSQ) > 0;
}

static bool target_pick(struct fair_cpu *c, struct task_struct *prev, struct fair_task *t,
			struct group_head *head, bool fair_ready)
{
	group_advance(fair_ready);
	return sx_consume(EXAMPLE_DSQ);
}

void SX_OPS(example_dispatch, s32 cpu, struct task_struct *prev)
{
	struct fair_cpu *c = fair_cpu(cpu);

	if (c)
		target_choose(cpu, c, NULL, NULL);
}
