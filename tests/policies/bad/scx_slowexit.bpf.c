// SPDX-License-Identifier: GPL-2.0
// expect: stage=dynamic rule=detach
/*
 * Copies its dump back and forth for seconds before it lets go. Bad: whoever takes the
 * policy off waits that long until the kernel default is back.
 */
#include "scx_compat.bpf.h"

char _license[] SEC("license") = "GPL";

#define SLICE_NS 5000000

void SX_OPS(slowexit_enqueue, struct task_struct *p, u64 enq_flags)
{
	sx_insert(p, SX_DSQ_GLOBAL, SLICE_NS, enq_flags);
}

#define ROUNDS 60000
#define LINGER_NS 3500000000ULL

char copy[sizeof(sx_dump)];

static long slowexit_linger(u64 i, void *ctx)
{
	bpf_probe_read_kernel(copy, sizeof(copy), sx_dump);
	bpf_probe_read_kernel(copy, sizeof(copy), sx_dump);
	bpf_probe_read_kernel(copy, sizeof(copy), sx_dump);
	bpf_probe_read_kernel(copy, sizeof(copy), sx_dump);
	bpf_probe_read_kernel(copy, sizeof(copy), sx_dump);
	bpf_probe_read_kernel(copy, sizeof(copy), sx_dump);
	bpf_probe_read_kernel(copy, sizeof(copy), sx_dump);
	bpf_probe_read_kernel(copy, sizeof(copy), sx_dump);
	return sx_now() - *(u64 *)ctx > LINGER_NS;
}

u64 nr_hotplug;

void SX_OPS(slowexit_cpu_online, s32 cpu)
{
	SX_COUNT(nr_hotplug);
}

void SX_OPS(slowexit_cpu_offline, s32 cpu)
{
	SX_COUNT(nr_hotplug);
}

void SX_OPS(slowexit_exit, struct scx_exit_info *ei)
{
	u64 since = sx_now();

	bpf_loop(ROUNDS, slowexit_linger, &since, 0);
	sx_record(ei);
}

SEC(".struct_ops.link")
struct sched_ext_ops slowexit_ops = {
	.enqueue = (void *)slowexit_enqueue,
	.cpu_online = (void *)slowexit_cpu_online,
	.cpu_offline = (void *)slowexit_cpu_offline,
	.exit = (void *)slowexit_exit,
	.timeout_ms = 5000,
	.name = "scx_slowexit",
};
