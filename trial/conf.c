// SPDX-License-Identifier: GPL-2.0-or-later
#include "trial.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct conf conf;

static bool add_constant(const char *rest)
{
	struct constant *c = &conf.constants[conf.nr_constants];
	char role[16] = "";

	if (conf.nr_constants == CONSTANTS_MAX)
		return false;
	if (sscanf(rest, "%" SCNu32 " %" SCNu32 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %15s",
		   &c->offset, &c->size, &c->initial, &c->low, &c->high, role) != 6)
		return false;
	if (c->size != 1 && c->size != 4 && c->size != 8)
		return false;
	if (!strcmp(role, "target-id"))
		c->role = ROLE_TARGET_ID;
	else if (!strcmp(role, "target-level"))
		c->role = ROLE_TARGET_LEVEL;
	conf.nr_constants++;
	conf.targeted |= c->role != ROLE_NONE;
	return true;
}

static bool add_optional(const char *rest)
{
	struct optional *o = &conf.optional[conf.nr_optional];

	if (conf.nr_optional == OPTIONAL_MAX)
		return false;
	conf.nr_optional++;
	return sscanf(rest, "%" SCNu32 " %31s", &o->offset, o->name) == 2;
}

static bool take(const char *key, const char *rest)
{
	if (!strcmp(key, "name"))
		return sscanf(rest, "%31s", conf.name) == 1;
	if (!strcmp(key, "timeout_ms"))
		return sscanf(rest, "%" SCNu32, &conf.timeout_ms) == 1;
	if (!strcmp(key, "timeout_offset"))
		return sscanf(rest, "%" SCNu32, &conf.timeout_offset) == 1;
	if (!strcmp(key, "max_wait_ms"))
		return sscanf(rest, "%" SCNu32, &conf.max_wait_ms) == 1;
	if (!strcmp(key, "constant"))
		return add_constant(rest);
	if (!strcmp(key, "optional"))
		return add_optional(rest);
	if (strcmp(key, "honours"))
		return false;
	conf.honours_nice |= !strncmp(rest, "nice", 4);
	conf.honours_cpu_max |= !strncmp(rest, "cpu.max", 7);
	return true;
}

/* One "key value" a line; false when a line is not understood. */
bool conf_read(const char *path)
{
	char line[256], key[32];
	FILE *file = fopen(path, "re");
	bool ok = file;
	int at;

	while (ok && fgets(line, sizeof(line), file))
		ok = sscanf(line, "%31s %n", key, &at) == 1 && take(key, line + at);
	if (file)
		fclose(file);
	return ok && conf.name[0] && conf.timeout_ms && conf.max_wait_ms;
}
