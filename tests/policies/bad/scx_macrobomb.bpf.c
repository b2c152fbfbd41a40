// SPDX-License-Identifier: GPL-2.0
// expect: stage=compile rule=COMPILE
/*
 * Twelve macros, each of which names the one before it eight times. Bad: they expand
 * to 68 billion statements; the compiler has to be stopped.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

u64 total;

#define M0 total++;
#define M1 M0 M0 M0 M0 M0 M0 M0 M0
#define M2 M1 M1 M1 M1 M1 M1 M1 M1
#define M3 M2 M2 M2 M2 M2 M2 M2 M2
#define M4 M3 M3 M3 M3 M3 M3 M3 M3
#define M5 M4 M4 M4 M4 M4 M4 M4 M4
#define M6 M5 M5 M5 M5 M5 M5 M5 M5
#define M7 M6 M6 M6 M6 M6 M6 M6 M6
#define M8 M7 M7 M7 M7 M7 M7 M7 M7
#define M9 M8 M8 M8 M8 M8 M8 M8 M8
#define M10 M9 M9 M9 M9 M9 M9 M9 M9
#define M11 M10 M10 M10 M10 M10 M10 M10 M10
#define M12 M11 M11 M11 M11 M11 M11 M11 M11

void SX_OPS(macrobomb_enqueue, struct task_struct *p, u64 enq_flags)
{
	M12 sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(macrobomb_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops macrobomb_ops = {
	.enqueue = (void *)macrobomb_enqueue,
	.exit = (void *)macrobomb_exit,
	.timeout_ms = 5000,
	.name = "scx_macrobomb",
};
