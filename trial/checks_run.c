// SPDX-License-Identifier: GPL-2.0-or-later
/* Whether every task that can run does run, soon enough. */
#include "trial.h"

#include <sched.h>
#include <stdio.h>

#define WATCH_MS 600
#define STORMS 3
#define STORM_MAX_MS 10000
#define MOVES 8
#define POLL_MS 2
#define NICE_PATIENCE 2

void judge_waits(struct outcome *out)
{
	const struct worker *who = NULL;

	out->figure = load_wait_ms(&who);
	out->unit = "ms";
	out->bound = load_patience_ms();
	out->passed = out->figure <= out->bound;
	out->timing = !out->passed;
	if (out->passed)
		say(out, "no task waited longer than %.0f ms", out->figure);
	else
		say(out, "%s did not run for %.0f ms", load_name(who), out->figure);
}

static void watch_and_judge(struct outcome *out, u32 ms)
{
	if (load_watch(ms))
		load_all_move();
	judge_waits(out);
}

static void spawn(enum work work, int cpu)
{
	struct spec spec = { .work = work, .cpu = cpu, .group = NO_GROUP };

	load_spawn(&spec);
}

void check_runnable(struct outcome *out)
{
	load_spawn_hogs(4, 0, ANY_CPU, NO_GROUP);
	if (conf.targeted)
		load_spawn_hogs(3, 0, ANY_CPU, target_group);
	spawn(WORK_SLEEP, ANY_CPU);
	spawn(WORK_SLEEP, ANY_CPU);
	watch_and_judge(out, WATCH_MS);
}

static bool storms_over(void)
{
	for (int i = 0; i < load_count(); i++) {
		const struct worker *w = load_worker(i);

		if (w->spec.work == WORK_STORM && !w->done)
			return false;
	}
	return true;
}

void check_fork_storm(struct outcome *out)
{
	struct spec spec = { .work = WORK_STORM, .cpu = ANY_CPU, .group = NO_GROUP };
	u64 end = now_ns() + STORM_MAX_MS * NS_PER_MS;

	load_spawn_hogs(2, 0, ANY_CPU, NO_GROUP);
	for (int i = 0; i < STORMS; i++) {
		spec.group = i || !conf.targeted ? NO_GROUP : target_group;
		load_spawn(&spec);
	}
	while (!storms_over() && now_ns() < end) {
		if (!load_watch(POLL_MS))
			break;
	}
	judge_waits(out);
	if (out->passed && !storms_over()) {
		out->passed = false;
		out->timing = true;
		say(out, "short-lived processes were not done after %d s", STORM_MAX_MS / 1000);
	}
}

void check_nice_mix(struct outcome *out)
{
	static const int levels[] = { -5, 0, 10, 19 };

	/* Nice 19 is due one millisecond in a hundred: its turns are far apart by right. */
	load_be_patient(NICE_PATIENCE);
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		load_spawn_hogs(1, levels[i], ANY_CPU, NO_GROUP);
	watch_and_judge(out, WATCH_MS);
}

void check_pinned(struct outcome *out)
{
	load_spawn_hogs(2, 0, ANY_CPU, NO_GROUP);
	for (int cpu = 0; cpu < CPUS; cpu++) {
		load_spawn_hogs(1, 0, cpu, NO_GROUP);
		spawn(WORK_SLEEP, cpu);
	}
	spawn(WORK_KTHREADS, ANY_CPU);
	watch_and_judge(out, WATCH_MS);
}

/* Whether the task has run on the CPU that it was sent to. */
static bool arrive(const struct worker *w, int cpu)
{
	u64 since = now_ns();

	while (w->cpu != cpu || w->last < since) {
		if (!load_watch(POLL_MS))
			return false;
	}
	return true;
}

void check_affinity_churn(struct outcome *out)
{
	struct worker *moved;

	for (int i = 0; i < 3; i++)
		spawn(WORK_CHURN, ANY_CPU);
	load_spawn_hogs(2, 0, ANY_CPU, NO_GROUP);
	moved = load_worker(load_count() - 1);
	for (int i = 0; i < MOVES; i++) {
		cpu_set_t cpus;

		CPU_ZERO(&cpus);
		CPU_SET(i % CPUS, &cpus);
		sched_setaffinity(moved->pid, sizeof(cpus), &cpus);
		if (!arrive(moved, i % CPUS))
			break;
	}
	watch_and_judge(out, WATCH_MS / 2);
}
