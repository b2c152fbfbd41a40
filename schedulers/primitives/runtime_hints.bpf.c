// SPDX-License-Identifier: GPL-2.0
/*
 * Longest expected remaining time first, by hints.
 *
 * User space writes into a map what CPU time it expects a process to use in all;
 * hint_order turns that, less what the process has used, into an order in which
 * the job with most remaining run time goes first. A hint that was too small
 * grows; a process without one is expected to need at least prior_ns.
 *
 * Use: batches whose makespan counts and whose job lengths are predicted: from the
 * last run of the same command, or the size of its input.
 *
 * Needs: scx_hints.bpf.h with scx_batch_core.bpf.h, and the role hints in the
 * card's [maps].
 *
 * Not for: mean completion time: oldest first (batch_age_order) is better for
 * that.
 */
#include "scx_hints.bpf.h"

char _license[] SEC("license") = "GPL";

/* The order of @p, set before it is queued: less goes first. */
__noinline int example_rank(struct task_struct *p __arg_trusted)
{
	struct fair_task *t = fair_task(p);

	if (t)
		t->order = hint_order(p);
	return 0;
}
