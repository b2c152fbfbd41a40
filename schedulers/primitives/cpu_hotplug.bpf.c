// SPDX-License-Identifier: GPL-2.0
/*
 * CPU hotplug that does not end the policy.
 *
 * Without the ops cpu_online and cpu_offline the kernel unloads a scheduler
 * whenever a CPU goes offline or comes online. With them the policy stays;
 * fair_cpu_offline hands on what was queued for that CPU only, as nobody else
 * would drain its pinned queue.
 *
 * Use: every policy for laptops and virtual machines, where CPUs come and go.
 *
 * Needs: scx_fair_ops.bpf.h for fair_op_cpu_online, and cpu_offline of the
 * policy's own; per-CPU queues have to be drained in it.
 *
 * Not for: counting CPUs once in init: use nr_online, which follows.
 */
#include "scx_fair_ops.bpf.h"

char _license[] SEC("license") = "GPL";

void SX_OPS(example_cpu_offline, s32 cpu)
{
	fair_cpu_offline(cpu);
}

SEC(".struct_ops.link")
struct sched_ext_ops example_ops = {
	.cpu_online = (void *)fair_op_cpu_online,
	.cpu_offline = (void *)example_cpu_offline,
	.name = "example",
};
