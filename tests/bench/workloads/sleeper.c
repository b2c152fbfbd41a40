// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A program that waits for time to pass and then wants a CPU at once, as most of what runs on a
 * machine: wakes up every so many milliseconds and notes how late that was.
 *
 * sleeper MS [SECONDS]		until SIGTERM, or for so long
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "timing.h"

static volatile sig_atomic_t over;

static void stop(int signal)
{
	(void)signal;
	over = 1;
}

int main(int argc, char **argv)
{
	static struct histogram times;
	struct sigaction action = { .sa_handler = stop };
	double period_ms = argc > 1 ? strtod(argv[1], NULL) : 0;
	double length_s = argc > 2 ? strtod(argv[2], NULL) : 0;
	uint64_t period_ns = period_ms * 1e6, began = now_ns(), due = began;

	if (argc < 2 || argc > 3 || period_ms <= 0 || period_ms > 60000 || length_s < 0)
		errx(2, "usage: sleeper MS [SECONDS]");
	/* Without this the kernel may let a timer run 50 us late to save wakeups. */
	prctl(PR_SET_TIMERSLACK, 1);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	while (!over && (!length_s || due - began < length_s * 1e9)) {
		struct timespec then;

		due += period_ns;
		then = (struct timespec){ due / NSEC_PER_SEC, due % NSEC_PER_SEC };
		if (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL) == EINTR)
			continue;
		add_time(&times, now_ns() - due);
		if (now_ns() > due + period_ns)
			due = now_ns();
	}
	printf("{\"seconds\": %.3f, \"wakeups\": %lu, ", (now_ns() - began) / 1e9, times.total);
	print_times("late_us", &times);
	printf("}\n");
	return 0;
}
