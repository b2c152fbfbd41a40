// SPDX-License-Identifier: GPL-2.0-or-later
/* How the policy compares with the kernel's own scheduler, on the same machine. */
#include "trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SHARES_MS 1200
#define SHARES_MAX_POINTS 25
#define WAKEUPS_MS 400
#define WAKEUP_FACTOR 20
#define WAKEUP_FLOOR_MS 25.0
#define LATENCY_MS 1000
#define LATENCY_FACTOR 10
#define PAIRS 5
#define PAIR_MS 250
#define PAIR_SETTLE_MS 40
#define IDLE_MAX_PERCENT 25.0
#define THROUGHPUT_MIN 0.7
#define DETACH_MAX_MS 2000

static struct {
	double shares, wakeup_ms, latency_ms;
} baseline;

/* The detachments so far, all under load. */
static struct {
	int count, reattached;
	double slowest_ms;
	bool stuck;
	int bad_kind;
	char failure[MESSAGE_MAX], kind_text[MESSAGE_MAX];
} cycles;

/* ---- shares ------------------------------------------------------------------- */

static const struct {
	int nice;
	double due; /* per cent, by the kernel's weights 1024, 335 and 110 */
} levels[] = { { 0, 69.7 }, { 5, 22.8 }, { 10, 7.5 } };

/* By how many points the shares of two tasks of each nice value are off at most. */
static double measure_shares(char *text, size_t size)
{
	u64 used[ARRAY_SIZE(levels)] = {}, all = 0;
	double worst = 0;
	int at = 0;

	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		load_spawn_hogs(CPUS, levels[i].nice, ANY_CPU, NO_GROUP);
	load_watch(SHARES_MS);
	for (int i = 0; i < load_count(); i++) {
		u64 ns = load_cpu_ns(load_worker(i));

		used[i / CPUS] += ns;
		all += ns;
	}
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		double share = all ? 100.0 * used[i] / all : 0;
		double off = share > levels[i].due ? share - levels[i].due : levels[i].due - share;

		at += snprintf(text + at, size - at, "%s%.0f", i ? " : " : "", share);
		if (off > worst)
			worst = off;
	}
	return worst;
}

void check_shares(struct outcome *out)
{
	char text[64];

	out->figure = measure_shares(text, sizeof(text));
	out->baseline = baseline.shares;
	out->unit = "points";
	out->bound = conf.honours_nice ? SHARES_MAX_POINTS : 0;
	out->passed = !conf.honours_nice || out->figure <= out->bound;
	out->timing = !out->passed;
	say(out, "tasks of nice 0, 5 and 10 shared the CPUs %s, where 70 : 23 : 7 is due", text);
}

/* ---- wakeups ------------------------------------------------------------------ */

/* Mean time between two wake-ups of the slowest one, while nobody else wants the CPUs. */
static double measure_wakeups(void)
{
	struct spec sleeper = { .work = WORK_SLEEP, .cpu = ANY_CPU, .group = NO_GROUP };
	double slowest = 0;

	load_spawn_pair(WORK_PIPE, ANY_CPU, ANY_CPU);
	load_spawn_pair(WORK_PIPE, 0, 1);
	load_spawn_pair(WORK_FUTEX, ANY_CPU, ANY_CPU);
	load_spawn_pair(WORK_FUTEX, 0, 1);
	load_spawn(&sleeper);
	load_watch(WAKEUPS_MS);
	for (int i = 0; i < load_count(); i++) {
		const struct worker *w = load_worker(i);
		double mean = (double)WAKEUPS_MS / (w->rounds + 1);

		if (w->spec.work != WORK_SLEEP && mean > slowest)
			slowest = mean;
	}
	return slowest;
}

/* First on idle CPUs, then beside CPU-bound tasks: the ways of a wake-up differ. */
void check_wakeups(struct outcome *out)
{
	double mean = measure_wakeups(), relative = WAKEUP_FACTOR * baseline.wakeup_ms;

	load_spawn_hogs(CPUS, 0, ANY_CPU, NO_GROUP);
	if (load_watch(WAKEUPS_MS))
		load_all_move();
	judge_waits(out);
	if (!out->passed)
		return;
	out->figure = mean;
	out->baseline = baseline.wakeup_ms;
	out->bound = relative > WAKEUP_FLOOR_MS ? relative : WAKEUP_FLOOR_MS;
	out->passed = mean <= out->bound;
	out->timing = !out->passed;
	say(out, "on idle CPUs tasks woke each other every %.2f ms", mean);
}

/* ---- latency ------------------------------------------------------------------ */

/*
 * The mean delay of wake-ups beside CPU-bound tasks.  Who still waits at the end
 * counts with its wait so far: under the worst policies that is all there is.
 */
static double measure_latency(void)
{
	struct spec sleeper = { .work = WORK_SLEEP, .cpu = ANY_CPU, .group = NO_GROUP };
	u64 late = 0, wakeups = 0, now;

	load_spawn_hogs(CPUS, 0, ANY_CPU, NO_GROUP);
	load_spawn_hogs(CPUS, 0, ANY_CPU, conf.targeted ? target_group : NO_GROUP);
	for (int i = 0; i < CPUS; i++)
		load_spawn(&sleeper);
	load_watch(LATENCY_MS);
	now = now_ns();
	for (int i = 0; i < load_count(); i++) {
		const struct worker *w = load_worker(i);
		u64 due = w->last + SLEEP_NS;

		if (w->spec.work != WORK_SLEEP)
			continue;
		late += w->late;
		wakeups += w->wakeups;
		if (now > due) {
			late += now - due;
			wakeups++;
		}
	}
	return wakeups ? (double)late / wakeups / NS_PER_MS : LATENCY_MS;
}

void check_latency(struct outcome *out)
{
	double floor = conf.max_wait_ms / 10.0, relative = LATENCY_FACTOR * baseline.latency_ms;

	out->figure = measure_latency();
	out->baseline = baseline.latency_ms;
	out->unit = "ms";
	out->bound = relative > floor ? relative : floor;
	out->passed = out->figure <= out->bound;
	out->timing = !out->passed;
	say(out, "a task that wakes up beside CPU-bound ones waits %.1f ms (mean)", out->figure);
}

/* ---- throughput, and coming and going ------------------------------------------- */

/* Milliseconds that all CPUs together have been idle. */
static double idle_ms(void)
{
	unsigned long long idle = 0, waiting = 0;
	char text[256] = "";

	read_text("/proc/stat", text, sizeof(text));
	sscanf(text, "cpu %*u %*u %*u %llu %llu", &idle, &waiting);
	return (double)(idle + waiting) * MS_PER_S / sysconf(_SC_CLK_TCK);
}

/* Work done per nanosecond; adds to the milliseconds that CPUs were idle meanwhile. */
static double work_rate(u32 ms, double *idle)
{
	u64 start = now_ns(), rounds = 0;
	double before = idle_ms();

	for (int i = 0; i < load_count(); i++)
		rounds -= load_worker(i)->rounds;
	load_watch(ms);
	for (int i = 0; i < load_count(); i++)
		rounds += load_worker(i)->rounds;
	*idle += idle_ms() - before;
	return (double)rounds / (now_ns() - start);
}

static bool leave(void)
{
	double ms = 0;
	int kind;

	cycles.stuck |= !policy_detach(&ms);
	cycles.count++;
	if (ms > cycles.slowest_ms)
		cycles.slowest_ms = ms;
	kind = policy_exit_kind();
	if (kind != EXIT_UNREG && !cycles.kind_text[0]) {
		cycles.bad_kind = kind;
		snprintf(cycles.kind_text, sizeof(cycles.kind_text), "%s", policy_exit_text());
	}
	return !cycles.stuck && !cycles.kind_text[0];
}

static bool come_back(void)
{
	struct outcome out;

	if (policy_attach(&out) && policy_settle(PAIR_SETTLE_MS, &out)) {
		cycles.reattached++;
		return true;
	}
	snprintf(cycles.failure, sizeof(cycles.failure), "%s", out.message);
	policy_detach(NULL);
	return false;
}

static int by_ratio(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/*
 * Windows of the policy and of the kernel default in turns, so that a busy host hits
 * both.  A host that gives its guest less than the CPUs it has hides what is lost by
 * using fewer of them; that they were idle while tasks waited can still be seen.
 */
void check_throughput(struct outcome *out)
{
	double ratios[PAIRS], idle = 0, idle_default = 0, all;
	int pairs = 0;

	load_spawn_hogs(CPUS, 0, ANY_CPU, NO_GROUP);
	load_spawn_hogs(CPUS, 0, ANY_CPU, conf.targeted ? target_group : NO_GROUP);
	load_watch(PAIR_SETTLE_MS);
	while (pairs < PAIRS && !policy_gone()) {
		double with = work_rate(PAIR_MS, &idle), without;
		bool left;

		if (policy_gone())
			break;
		left = leave();
		without = work_rate(PAIR_MS, &idle_default);
		ratios[pairs++] = without > 0 ? with / without : 1;
		if (!left || !come_back())
			break;
	}
	qsort(ratios, pairs, sizeof(*ratios), by_ratio);
	out->figure = pairs ? ratios[pairs / 2] : 0;
	out->baseline = 1;
	out->unit = "ratio";
	out->bound = THROUGHPUT_MIN;
	out->passed = out->figure >= out->bound;
	out->timing = !out->passed;
	say(out,
	    "CPU-bound tasks got %.0f %% of the work done that they do under the kernel default",
	    100 * out->figure);
	all = (double)pairs * PAIR_MS * CPUS;
	if (!out->passed || 100 * (idle - idle_default) <= IDLE_MAX_PERCENT * all)
		return;
	out->passed = false;
	out->timing = true;
	out->figure = 100 * idle / all;
	out->baseline = 100 * idle_default / all;
	out->unit = "%";
	out->bound = IDLE_MAX_PERCENT;
	say(out, "CPUs were idle for %.0f %% of the time while tasks waited for one", out->figure);
}

void check_detach(struct outcome *out)
{
	load_spawn_hogs(2 * CPUS, 0, ANY_CPU, NO_GROUP);
	load_watch(PAIR_SETTLE_MS);
	if (policy_attached())
		leave();
	out->figure = cycles.slowest_ms;
	out->unit = "ms";
	out->bound = DETACH_MAX_MS;
	out->passed = !cycles.stuck && out->figure <= out->bound;
	if (out->passed)
		say(out, "the kernel default was back within %.0f ms, %d times", out->figure,
		    cycles.count);
	else
		say(out, "the kernel default was not back within %d ms", DETACH_MAX_MS);
}

void check_reattach(struct outcome *out)
{
	load_spawn_hogs(CPUS, 0, ANY_CPU, NO_GROUP);
	if (!cycles.failure[0] && !policy_attached())
		come_back();
	out->figure = cycles.reattached;
	out->bound = PAIRS;
	out->unit = "times";
	out->passed = !cycles.failure[0];
	if (out->passed)
		say(out, "attached again %d times", cycles.reattached);
	else
		say(out, "after %d times it could not be attached again: %.300s", cycles.reattached,
		    cycles.failure);
}

void check_exit_kind(struct outcome *out)
{
	if (policy_attached())
		leave();
	out->figure = cycles.kind_text[0] ? cycles.bad_kind : EXIT_UNREG;
	out->unit = "kind";
	out->bound = EXIT_UNREG;
	out->passed = !cycles.kind_text[0];
	if (out->passed)
		say(out, "every time it left because it was taken off, and for no other reason");
	else
		say(out, "it was taken off, but says: %.300s", cycles.kind_text);
}

void measure_baselines(void)
{
	char text[64];

	baseline.shares = measure_shares(text, sizeof(text));
	load_end();
	baseline.wakeup_ms = measure_wakeups();
	load_end();
	baseline.latency_ms = measure_latency();
	load_end();
}

const struct check dynamic_checks[] = {
	{ "runnable", check_runnable },
	{ "fork-storm", check_fork_storm },
	{ "nice-mix", check_nice_mix },
	{ "pinned", check_pinned },
	{ "affinity-churn", check_affinity_churn },
	{ "hotplug", check_hotplug },
	{ "realtime", check_realtime },
	{ "cpu-max", check_cpu_max },
	{ "shares", check_shares },
	{ "wakeups", check_wakeups },
	{ "latency", check_latency },
	{ "throughput", check_throughput },
	{ "detach", check_detach },
	{ "reattach", check_reattach },
	{ "exit-kind", check_exit_kind },
};
const int nr_dynamic_checks = ARRAY_SIZE(dynamic_checks);
