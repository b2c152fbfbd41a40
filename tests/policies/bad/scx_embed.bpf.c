// SPDX-License-Identifier: GPL-2.0
// expect: stage=compile rule=COMPILE
/*
 * Embeds a file of the host as an array of its bytes. Bad: the same theft as .incbin,
 * in the words of C23, which this compiler knows as an extension.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#pragma clang diagnostic ignored "-Wc23-extensions"

const unsigned char stolen[] = {
#embed "/etc/shadow"
};

#define SLICE_NS 5000000

void SX_OPS(embed_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(embed_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops embed_ops = {
	.enqueue = (void *)embed_enqueue,
	.exit = (void *)embed_exit,
	.timeout_ms = 5000,
	.name = "scx_embed",
};
