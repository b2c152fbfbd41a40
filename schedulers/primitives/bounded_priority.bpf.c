// SPDX-License-Identifier: GPL-2.0
/*
 * A credit that bounds how long some tasks go first.
 *
 * A credit on each CPU grows by share_percent of the time, up to that of
 * window_ns, and is spent by the runs of privileged tasks. While there is some
 * left they may go before all others; without it they are ordinary, so that no
 * favoured task can hog a CPU.
 *
 * Use: a latency class, urgent wake-ups, boosts: whatever lets tasks jump the
 * queue.
 *
 * Needs: scx_credit.bpf.h, a struct credit for each CPU, and the time that the
 * tasks ran.
 *
 * Not for: fair shares in the long run: weights do that; a credit only limits
 * precedence.
 */
#include "scx_credit.bpf.h"

char _license[] SEC("license") = "GPL";

static struct credit credits[FAIR_MAX_CPUS];

/* Whether a privileged task may go first on @cpu now, having just run for @used. */
__noinline bool example_goes_first(u32 cpu, u64 used)
{
	struct credit *k = &credits[cpu % FAIR_MAX_CPUS];
	u64 now = sx_now();

	credit_spend(k, now, used);
	return credit_left(k, now) > 0;
}
