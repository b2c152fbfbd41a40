// SPDX-License-Identifier: GPL-2.0
/*
 * Asks for the frequency that the load of a CPU needs.  Without that the kernel's
 * schedutil governor runs every CPU at full speed while a policy is attached.  Where
 * there is no such governor, or no kfunc for it, nothing happens.
 */
#ifndef SCX_PERF_BPF_H
#define SCX_PERF_BPF_H

#include "scx_compat.bpf.h"

enum perf_const {
	PERF_ONE = 1024,	   /* the highest frequency */
	PERF_WINDOW_NS = 10000000, /* between two looks at how busy a CPU is */
};

struct perf_cpu {
	u64 at;	     /* when the last look was */
	u64 busy_ns; /* since then; the policy adds to it */
	u64 asked;
};

/*
 * From an op that holds the lock of @cpu's runqueue; @least: never ask for less.  Quickly
 * more, slowly less.
 */
static void perf_update(s32 cpu, struct perf_cpu *c, u64 now, u64 least)
{
	u64 ns = now - c->at, busy, perf;

	if ((s64)ns < PERF_WINDOW_NS || !bpf_ksym_exists(scx_bpf_cpuperf_set) ||
	    !bpf_ksym_exists(scx_bpf_cpuperf_cur))
		return;
	busy = c->busy_ns * PERF_ONE / ns;
	/* A quarter more than it used, as the kernel's own governor asks for. */
	perf = busy * scx_bpf_cpuperf_cur(cpu) / PERF_ONE * 5 / 4;
	if (busy > PERF_ONE * 9 / 10)
		perf = 2 * c->asked;
	else if (perf < c->asked)
		perf = (perf + c->asked) / 2;
	perf = perf < least ? least : perf > PERF_ONE ? PERF_ONE : perf;
	c->busy_ns = 0;
	c->at = now;
	if (perf == c->asked)
		return;
	c->asked = perf;
	scx_bpf_cpuperf_set(cpu, perf);
}

#endif /* SCX_PERF_BPF_H */
