// SPDX-License-Identifier: GPL-2.0
/*
 * How long some tasks may go before all others on a CPU: a credit, which grows by
 * share_percent of the time, up to that of window_ns, and which their runs use up.
 */
#ifndef SCX_CREDIT_BPF_H
#define SCX_CREDIT_BPF_H

#include "scx_fair_core.bpf.h"

/* On each CPU they go first for so many per cent of the time ... */
const volatile u32 share_percent = 50;
/* ... averaged over this, in ns. */
const volatile u64 window_ns = 100000000;

struct credit {
	s64 left_ns;
	u64 at; /* when it was that */
};

static s64 credit_left(struct credit *k, u64 now)
{
	s64 most = window_ns * share_percent / 100, left;
	u64 since = before(now, k->at) ? 0 : now - k->at;

	/* A debt is never larger than the credit may be: two windows make up for it. */
	if (since > 2 * window_ns)
		since = 2 * window_ns;
	left = k->left_ns + (s64)(since * share_percent / 100);
	return left < most ? left : most;
}

static void credit_spend(struct credit *k, u64 now, u64 used)
{
	s64 most = window_ns * share_percent / 100, left = credit_left(k, now) - used;

	k->left_ns = left > -most ? left : -most;
	k->at = now;
}

#endif /* SCX_CREDIT_BPF_H */
