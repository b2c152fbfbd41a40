// SPDX-License-Identifier: GPL-2.0-or-later
/* Whether the kernel takes the policy, and keeps it while nothing much happens. */
#include "trial.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ATTACH_MAX_MS 5000
#define SETTLE_MS 500
#define POLL_MS 5

static double ms_since(u64 start)
{
	return (double)(now_ns() - start) / NS_PER_MS;
}

void check_load(struct outcome *out)
{
	u64 start = now_ns();

	out->unit = "ms";
	out->passed = policy_load(VALUES_INITIAL, out);
	out->figure = ms_since(start);
	if (out->passed)
		say(out, "the kernel's verifier took it");
}

/* On both CPUs at once: most of the time that a trial takes to load is the verifier's. */
static bool try_both(struct outcome *out)
{
	struct outcome *low = shared_memory(sizeof(*low));
	bool taken;
	pid_t pid;

	if (!low)
		return false;
	pid = fork();
	if (!pid) {
		low->passed = policy_try(VALUES_LOW, low);
		_exit(0);
	}
	taken = policy_try(VALUES_HIGH, out);
	while (pid > 0 && !waitpid(pid, NULL, WNOHANG)) {
		report_beat_if_due();
		sleep_ms(POLL_MS);
	}
	if (taken && !low->passed)
		memcpy(out->message, low->message, sizeof(out->message));
	return taken && low->passed;
}

void check_load_extremes(struct outcome *out)
{
	u64 start = now_ns();

	out->unit = "ms";
	out->passed = !conf.nr_constants || try_both(out);
	out->figure = ms_since(start);
	if (out->passed)
		say(out, "the kernel's verifier took it with all tunables at their least, and at "
			 "their most");
}

void check_attach(struct outcome *out)
{
	u64 start = now_ns();

	out->unit = "ms";
	out->bound = ATTACH_MAX_MS;
	out->passed = policy_attach(out);
	out->figure = ms_since(start);
	if (!out->passed)
		return;
	out->passed = out->figure <= out->bound;
	say(out, "attached in %.0f ms", out->figure);
}

void check_settle(struct outcome *out)
{
	out->unit = "ms";
	out->figure = SETTLE_MS;
	out->passed = policy_settle(SETTLE_MS, out);
	if (out->passed)
		say(out, "enabled, and still enabled %d ms later", SETTLE_MS);
}

const struct check kernel_checks[] = {
	{ "load", check_load },
	{ "load-extremes", check_load_extremes },
	{ "attach", check_attach },
	{ "settle", check_settle },
};
const int nr_kernel_checks = ARRAY_SIZE(kernel_checks);
