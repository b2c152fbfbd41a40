// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A loop of 60 frames a second, as of a game or a video: each frame has some work to do and is late
 * when it is not done before the next one is due; then those that are due already are dropped.
 *
 * frames --calibrate MS	print how many loops take so many milliseconds of CPU here
 * frames LOOPS [SECONDS]	run until SIGTERM, or for so long, and print what became of the frames
 *
 * The frame time is measured from the moment at which the frame was due to the end of its work.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "timing.h"

#define FRAMES_PER_S 60
#define PERIOD_NS (NSEC_PER_SEC / FRAMES_PER_S)
#define CALIBRATE_LOOPS 2000000L
#define CALIBRATE_ROUNDS 5

static volatile sig_atomic_t over;
static volatile uint32_t canvas;

static void stop(int signal)
{
	(void)signal;
	over = 1;
}

static void draw(long loops)
{
	uint32_t value = canvas + 1;

	for (long i = 0; i < loops; i++) {
		value ^= value << 13;
		value ^= value >> 17;
		value ^= value << 5;
	}
	canvas = value;
}

static uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

/* The fastest of some rounds: nothing else can make a round shorter. */
static long calibrate(double ms)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < CALIBRATE_ROUNDS; i++) {
		uint64_t began = cpu_ns(), took;

		draw(CALIBRATE_LOOPS);
		took = cpu_ns() - began;
		if (took < best)
			best = took;
	}
	return ms * 1e6 * CALIBRATE_LOOPS / best;
}

static void sleep_until(uint64_t at)
{
	struct timespec then = { at / NSEC_PER_SEC, at % NSEC_PER_SEC };

	while (!over && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL) == EINTR)
		;
}

static void play(long loops, double length_s)
{
	static struct histogram times;
	struct sigaction action = { .sa_handler = stop };
	uint64_t began = now_ns(), due = began, end = began + length_s * 1e9;
	uint64_t late = 0, dropped = 0;

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	while (!over && (!length_s || due + PERIOD_NS < end)) {
		uint64_t took;

		due += PERIOD_NS;
		sleep_until(due);
		if (over)
			break;
		draw(loops);
		took = now_ns() - due;
		add_time(&times, took);
		if (took > PERIOD_NS) {
			late++;
			dropped += took / PERIOD_NS - 1;
			due += (took / PERIOD_NS - 1) * PERIOD_NS;
		}
	}
	printf("{\"seconds\": %.3f, \"frames\": %lu, \"late\": %lu, \"dropped\": %lu, ",
	       (now_ns() - began) / 1e9, times.total, late, dropped);
	printf("\"missed_share\": %.5f, ",
	       times.total ? (double)(late + dropped) / (times.total + dropped) : 0);
	print_times("frame_us", &times);
	printf("}\n");
}

int main(int argc, char **argv)
{
	char *end;
	double length_s = argc == 3 ? strtod(argv[2], &end) : 0;
	long loops;

	if (argc == 3 && !strcmp(argv[1], "--calibrate")) {
		printf("%ld\n", calibrate(length_s));
		return 0;
	}
	if (argc < 2 || argc > 3 || (loops = strtol(argv[1], &end, 10)) < 1 || *end || length_s < 0)
		errx(2, "usage: frames --calibrate MS | frames LOOPS [SECONDS]");
	play(loops, length_s);
	return 0;
}
