// SPDX-License-Identifier: GPL-2.0
/* Broken on purpose: sound for 20 s, then loses every task of an ordinary user. */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SOUND_NS (20ULL * 1000 * 1000 * 1000)

u64 attached_at;

void SX_OPS(late_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (sx_now() - attached_at < SOUND_NS || p->cred->uid.val < 1000)
		sx_insert(p, SX_DSQ_GLOBAL, 3000000, enq_flags);
}

s32 SX_OPS_SLEEPABLE(late_init)
{
	attached_at = sx_now();
	return 0;
}

void SX_OPS(late_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops late_ops = {
	.enqueue = (void *)late_enqueue,
	.init = (void *)late_init,
	.exit = (void *)late_exit,
	.timeout_ms = 3000,
	.name = "scx_late",
};
