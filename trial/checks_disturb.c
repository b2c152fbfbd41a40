// SPDX-License-Identifier: GPL-2.0-or-later
/* What happens to the tasks when something else takes CPUs away from them. */
#include "trial.h"

#include <stdio.h>
#include <unistd.h>

#define WATCH_MS 300
#define REALTIME_MS 800
#define SWITCH_MAX_MS 6000
#define POLL_MS 2
#define CAP_MS 1000
#define CAP_PERCENT 20
#define CAP_MAX_PERCENT 40

static void spawn(enum work work, int cpu)
{
	struct spec spec = { .work = work, .cpu = cpu, .group = NO_GROUP };

	load_spawn(&spec);
}

/* In a process of its own: the kernel waits for tasks of the CPU, and may wait forever. */
static bool switch_cpu(bool on, struct outcome *out)
{
	u64 end = now_ns() + SWITCH_MAX_MS * NS_PER_MS;
	struct spec spec = { .work = on ? WORK_ONLINE : WORK_OFFLINE,
			     .cpu = ANY_CPU,
			     .group = NO_GROUP };
	struct worker *w = load_spawn(&spec);

	while (!w->done && now_ns() < end) {
		report_beat_if_due();
		sleep_ms(POLL_MS);
	}
	if (w->done)
		return true;
	say(out, "CPU 1 did not go %s within %d s", on ? "online" : "offline",
	    SWITCH_MAX_MS / 1000);
	return false;
}

/*
 * A policy that does not follow CPUs coming and going is unloaded, and asks to be
 * attached again.  That is no fault; anything else is.
 */
static bool attach_again(struct outcome *out, int *times)
{
	if (!policy_gone())
		return true;
	policy_exit_text();
	if (policy_exit_kind() != EXIT_UNREG_KERN)
		return false;
	(*times)++;
	policy_detach(NULL);
	return policy_attach(out) && policy_settle(POLL_MS, out);
}

static bool hotplug(bool on, struct outcome *out, int *times)
{
	if (!switch_cpu(on, out) || !attach_again(out, times))
		return false;
	load_reset_waits();
	if (on) {
		load_spawn_hogs(1, 0, 1, NO_GROUP);
		spawn(WORK_KTHREADS, ANY_CPU);
	}
	if (load_watch(WATCH_MS))
		load_all_move();
	judge_waits(out);
	return out->passed;
}

void check_hotplug(struct outcome *out)
{
	int times = 0;
	bool ok;

	load_spawn_hogs(2, 0, ANY_CPU, NO_GROUP);
	load_spawn_hogs(1, 0, 1, NO_GROUP);
	spawn(WORK_SLEEP, 1);
	load_watch(WATCH_MS / 2);
	ok = hotplug(false, out, &times);
	ok = hotplug(true, out, &times) && ok;
	out->passed = ok;
	if (ok && times)
		say(out, "it left %d times for a CPU that came or went, and was attached again",
		    times);
}

void check_realtime(struct outcome *out)
{
	spawn(WORK_REALTIME, 1);
	load_spawn_hogs(2, 0, ANY_CPU, NO_GROUP);
	load_spawn_hogs(1, 0, 1, NO_GROUP);
	spawn(WORK_SLEEP, 1);
	spawn(WORK_KTHREADS, ANY_CPU);
	if (load_watch(REALTIME_MS))
		load_all_move();
	judge_waits(out);
}

void check_cpu_max(struct outcome *out)
{
	u64 start, used;

	/* Lifted and set again: a policy has to follow limits that change. */
	set_cap(false);
	load_spawn_hogs(2, 0, ANY_CPU, NO_GROUP);
	set_cap(true);
	start = now_ns();
	load_spawn_hogs(1, 0, ANY_CPU, capped_group);
	if (load_watch(CAP_MS))
		load_all_move();
	judge_waits(out);
	used = load_cpu_ns(load_worker(2));
	if (!out->passed)
		return;
	out->figure = 100.0 * used / (now_ns() - start);
	out->baseline = CAP_PERCENT;
	out->unit = "%";
	out->bound = conf.honours_cpu_max ? CAP_MAX_PERCENT : 0;
	say(out, "a task limited to %d %% of a CPU by cpu.max had %.0f %%", CAP_PERCENT,
	    out->figure);
	if (conf.honours_cpu_max && out->figure > CAP_MAX_PERCENT) {
		out->passed = false;
		say(out,
		    "its card says that it honours cpu.max, but a task limited to %d %% had %.0f "
		    "%%",
		    CAP_PERCENT, out->figure);
	}
}
