// SPDX-License-Identifier: GPL-2.0
/*
 * A record of why the kernel ended the policy.
 *
 * sx_record copies the exit kind, code, reason, message and debug dump of struct
 * scx_exit_info into maps of their own, which user space maps and reads after the
 * policy was ejected: the kind is stored last and is 0 while it lasts.
 *
 * Use: always: the verifier's analysis refuses a policy whose exit op leaves no
 * record, and the daemon tells people why a scheduler was thrown out from it.
 *
 * Needs: scx_compat.bpf.h, and the exit op.
 *
 * Not for: statistics while the policy runs; counters in .bss are for that, see
 * SX_COUNT.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

void SX_OPS(example_exit, struct scx_exit_info *ei)
{
	sx_record(ei);
}
