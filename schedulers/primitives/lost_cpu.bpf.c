// SPDX-License-Identifier: GPL-2.0
/*
 * Tasks queued on a CPU that a higher class takes.
 *
 * When a real-time, deadline or stop task takes a CPU, what is in that CPU's local
 * queue would wait until it is done. sx_reenqueue_local in cpu_release hands those
 * tasks back to enqueue, so that other CPUs can run them.
 *
 * Use: every policy that inserts into local queues, as any that sends wake-ups
 * straight to an idle CPU does.
 *
 * Needs: scx_compat.bpf.h, the cpu_release op, and an enqueue that does not send
 * the same task to the same CPU again.
 *
 * Not for: calls from any other op: older kernels allow it only in cpu_release.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

u64 nr_reenqueued;

void SX_OPS(example_cpu_release, s32 cpu, struct scx_cpu_release_args *args)
{
	SX_COUNT(nr_reenqueued);
	sx_reenqueue_local();
}
