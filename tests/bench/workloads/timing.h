/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the workloads measure with: a clock, a histogram of times, and its percentiles as JSON. */
#ifndef BENCH_TIMING_H
#define BENCH_TIMING_H

#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* Each power of two is cut in 64: a percentile is at most 1.6 % too high. */
#define CUT_BITS 6
#define CUTS (1 << CUT_BITS)
#define SLOTS (CUTS * (64 - CUT_BITS + 1))
#define NSEC_PER_SEC 1000000000ULL

struct histogram {
	uint64_t count[SLOTS];
	uint64_t total;
	uint64_t longest;
};

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

static inline unsigned int slot_of(uint64_t ns)
{
	int shift;

	if (ns < CUTS)
		return ns;
	shift = 63 - __builtin_clzll(ns) - CUT_BITS;
	return (shift + 1) * CUTS + (ns >> shift) - CUTS;
}

/* The longest time that falls into a slot. */
static inline uint64_t slot_end(unsigned int slot)
{
	unsigned int shift;

	if (slot < CUTS)
		return slot;
	shift = slot / CUTS - 1;
	return ((uint64_t)(slot % CUTS + CUTS + 1) << shift) - 1;
}

static inline void add_time(struct histogram *times, uint64_t ns)
{
	times->count[slot_of(ns)]++;
	times->total++;
	if (ns > times->longest)
		times->longest = ns;
}

static inline void add_all(struct histogram *times, const struct histogram *more)
{
	for (int slot = 0; slot < SLOTS; slot++)
		times->count[slot] += more->count[slot];
	times->total += more->total;
	if (more->longest > times->longest)
		times->longest = more->longest;
}

/* The time that `share` (0 to 1) of all times do not exceed, in microseconds. */
static inline double percentile_us(const struct histogram *times, double share)
{
	uint64_t wanted = share * times->total + 0.5, seen = 0;

	if (!times->total)
		return 0;
	if (!wanted)
		wanted = 1;
	for (int slot = 0; slot < SLOTS; slot++) {
		seen += times->count[slot];
		if (seen >= wanted && slot_end(slot) < times->longest)
			return slot_end(slot) / 1e3;
	}
	return times->longest / 1e3;
}

static inline void print_times(const char *name, const struct histogram *times)
{
	printf("\"%s\": {\"p50\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f, \"max\": %.1f}", name,
	       percentile_us(times, 0.5), percentile_us(times, 0.99), percentile_us(times, 0.999),
	       times->longest / 1e3);
}

#endif
