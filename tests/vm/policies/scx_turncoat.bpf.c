// SPDX-License-Identifier: GPL-2.0
/*
 * Bad on purpose, but only after a minute: one queue in order of arrival with
 * slices of 3 ms, and then of 300 ms, so that whoever wakes up waits and waits.
 * No watchdog of the kernel minds that.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define MASK_DROPS_NS (60ULL * 1000 * 1000 * 1000)
#define GOOD_SLICE_NS 3000000
#define BAD_SLICE_NS 300000000

u64 attached_at;

void SX_OPS(turncoat_enqueue, struct task_struct *p, u64 enq_flags)
{
	bool good = sx_now() - attached_at < MASK_DROPS_NS;

	sx_insert(p, SX_DSQ_GLOBAL, good ? GOOD_SLICE_NS : BAD_SLICE_NS, enq_flags);
}

s32 SX_OPS_SLEEPABLE(turncoat_init)
{
	attached_at = sx_now();
	return 0;
}

void SX_OPS(turncoat_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops turncoat_ops = {
	.enqueue = (void *)turncoat_enqueue,
	.init = (void *)turncoat_init,
	.exit = (void *)turncoat_exit,
	.timeout_ms = 20000,
	.name = "scx_turncoat",
};
