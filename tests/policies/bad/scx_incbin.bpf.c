// SPDX-License-Identifier: GPL-2.0
// expect: stage=compile rule=COMPILE
/*
 * Lets the assembler copy a file of the host into the object. Bad: no diagnostic would
 * show it, the content would be read back from the policy's map.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

__asm__(".section .rodata.stolen,\"a\"\n"
	".incbin \"/etc/shadow\"\n"
	".text\n");

#define SLICE_NS 5000000

void SX_OPS(incbin_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

void SX_OPS(incbin_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops incbin_ops = {
	.enqueue = (void *)incbin_enqueue,
	.exit = (void *)incbin_exit,
	.timeout_ms = 5000,
	.name = "scx_incbin",
};
