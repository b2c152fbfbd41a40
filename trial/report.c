// SPDX-License-Identifier: GPL-2.0-or-later
#include "trial.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <termios.h>
#include <unistd.h>

#define NOTE_GNU_BUILD_ID 3
#define NOTES_MAX 4096
#define BEAT_MS 1000

static int port = -1;

bool report_open(const char *path)
{
	struct termios raw;

	port = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (port < 0 || tcgetattr(port, &raw))
		return false;
	cfmakeraw(&raw);
	cfsetspeed(&raw, B115200);
	return !tcsetattr(port, TCSANOW, &raw);
}

static void send(const char *text, size_t size)
{
	ssize_t done;

	while (size && (done = write(port, text, size)) > 0) {
		text += done;
		size -= done;
	}
}

static void quote(char *into, size_t size, const char *text)
{
	char *end = into + size - 7;

	for (; *text && into < end; text++) {
		unsigned char c = *text;

		if (c == '"' || c == '\\')
			into += sprintf(into, "\\%c", c);
		else if (c < ' ' || c > '~')
			into += sprintf(into, "\\u%04x", c);
		else
			*into++ = c;
	}
	*into = 0;
}

__attribute__((format(printf, 1, 2))) static void line(const char *format, ...)
{
	char text[8192];
	va_list args;
	int size;

	va_start(args, format);
	size = vsnprintf(text, sizeof(text) - 1, format, args);
	va_end(args);
	if (size < 0 || size >= (int)sizeof(text) - 1)
		return;
	text[size++] = '\n';
	send(text, size);
}

/* The GNU build id is in the ELF notes of the running kernel: name size, size, type, name, id. */
static void build_id(char *hex, size_t size)
{
	unsigned char notes[NOTES_MAX];
	int fd = open("/sys/kernel/notes", O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, notes, sizeof(notes)), at = 0;

	*hex = 0;
	if (fd >= 0)
		close(fd);
	while (at + 12 <= length) {
		u32 name, id, type;
		bool wanted;

		memcpy(&name, notes + at, 4);
		memcpy(&id, notes + at + 4, 4);
		memcpy(&type, notes + at + 8, 4);
		at += 12;
		if (name > NOTES_MAX || id > NOTES_MAX ||
		    at + (ssize_t)(((name + 3) & ~3U) + id) > length)
			return;
		wanted = type == NOTE_GNU_BUILD_ID && name == 4 && !memcmp(notes + at, "GNU", 4);
		at += (name + 3) & ~3U;
		for (u32 i = 0; wanted && i < id && 2 * i + 3 < size; i++)
			sprintf(hex + 2 * i, "%02x", notes[at + i]);
		if (wanted)
			return;
		at += (id + 3) & ~3U;
	}
}

void report_hello(void)
{
	struct utsname name;
	char id[128];

	uname(&name);
	build_id(id, sizeof(id));
	line("{\"event\":\"hello\",\"release\":\"%s\",\"build_id\":\"%s\",\"cpus\":%ld}",
	     name.release, id, sysconf(_SC_NPROCESSORS_ONLN));
}

void report_begin(const char *stage, const char *check)
{
	line("{\"event\":\"begin\",\"stage\":\"%s\",\"check\":\"%s\"}", stage, check);
}

void report_check(const char *stage, const char *check, const struct outcome *out)
{
	char message[6 * MESSAGE_MAX + 8];

	quote(message, sizeof(message), out->message);
	line("{\"event\":\"check\",\"stage\":\"%s\",\"name\":\"%s\",\"passed\":%s,\"figure\":%.4g,"
	     "\"unit\":\"%s\",\"bound\":%.4g,\"baseline\":%.4g,\"message\":\"%s\"}",
	     stage, check, out->passed ? "true" : "false", out->figure, out->unit ? out->unit : "",
	     out->bound, out->baseline, message);
}

void report_broken(const char *why)
{
	char message[1024];

	quote(message, sizeof(message), why);
	line("{\"event\":\"broken\",\"message\":\"%s\"}", message);
}

/* Said while waiting, so that the outside can tell a slow machine from one that hangs. */
void report_beat_if_due(void)
{
	static u64 next;

	if (now_ns() < next)
		return;
	next = now_ns() + BEAT_MS * NS_PER_MS;
	line("{\"event\":\"beat\"}");
}

void report_end(void)
{
	line("{\"event\":\"end\"}");
	tcdrain(port);
}

void say(struct outcome *out, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(out->message, sizeof(out->message), format, args);
	va_end(args);
}
