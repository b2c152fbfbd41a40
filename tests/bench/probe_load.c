// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the run-queue probe is measured with: `probe_load pipe MS` counts the round trips of a byte
 * between two processes on one CPU, two switches each; `probe_load hog MS` the loops of two busy
 * processes on each CPU.
 */
#define _GNU_SOURCE
#include <err.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HOGS_PER_CPU 2
#define LOOPS_PER_LOOK 20000

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "sched_setaffinity");
}

static double pipe_trips(double length)
{
	int there[2], back[2];
	double began, now;
	long trips = 0;
	char byte = 0;

	if (pipe(there) || pipe(back))
		err(1, "pipe");
	pin(0);
	if (!fork()) {
		close(there[1]);
		while (read(there[0], &byte, 1) == 1)
			if (write(back[1], &byte, 1) != 1)
				break;
		_exit(0);
	}
	began = seconds();
	do {
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			err(1, "ping-pong");
		trips++;
		now = seconds();
	} while (now - began < length);
	close(there[1]);
	wait(NULL);
	return trips / (now - began);
}

static double hog(double length)
{
	volatile unsigned int value = 1;
	double began = seconds(), now;
	long looks = 0;

	do {
		for (int i = 0; i < LOOPS_PER_LOOK; i++)
			value = value * 1664525 + 1013904223;
		looks++;
		now = seconds();
	} while (now - began < length);
	return looks / (now - began);
}

static double hogs(double length)
{
	int count = sysconf(_SC_NPROCESSORS_ONLN) * HOGS_PER_CPU, results[2];
	double one, sum = 0;

	if (pipe(results))
		err(1, "pipe");
	for (int i = 0; i < count; i++) {
		if (fork())
			continue;
		pin(i / HOGS_PER_CPU);
		one = hog(length);
		_exit(write(results[1], &one, sizeof(one)) != sizeof(one));
	}
	for (int i = 0; i < count; i++) {
		if (read(results[0], &one, sizeof(one)) != sizeof(one))
			err(1, "hog");
		sum += one;
	}
	while (wait(NULL) > 0)
		;
	return sum;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		errx(2, "usage: probe_load pipe|hog MILLISECONDS");
	printf("%f\n", (strcmp(argv[1], "pipe") ? hogs : pipe_trips)(atoi(argv[2]) / 1e3));
	return 0;
}
