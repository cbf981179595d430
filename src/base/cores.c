/* How many processors this process may use: its affinity, and the quotas of its control groups. */
#define _GNU_SOURCE
#include "base/cores.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE = 1024, PATH = 3 * LINE };

/* The next line of the file; those too long to be of interest are left out. */
static bool next_line(FILE *file, char *line)
{
	while (fgets(line, LINE, file)) {
		char *end = strchr(line, '\n');
		if (end) {
			*end = '\0';
			return true;
		}
		int c;
		while ((c = getc(file)) != '\n' && c != EOF)
			;
	}
	return false;
}

/* Is word one of the list's, which commas divide? */
static bool lists(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (!strncmp(p, word, n) && (p[n] == ',' || !p[n]))
			return true;
	}
	return false;
}

/* Reads numbers from the file dir/name, as many as there are, at most two. */
static int numbers(const char *dir, const char *name, long long *a, long long *b)
{
	char path[PATH + 32];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *file = fopen(path, "re");
	if (!file)
		return 0;
	int n = fscanf(file, "%lld %lld", a, b);
	fclose(file);
	return n < 0 ? 0 : n;
}

/* Of this group alone. "max" and -1 are no quota. */
static unsigned quota_of(const char *dir, bool v2)
{
	long long quota = -1, period = 0, none;
	bool known = v2 ? numbers(dir, "cpu.max", &quota, &period) == 2
			: numbers(dir, "cpu.cfs_quota_us", &quota, &none) &&
				     numbers(dir, "cpu.cfs_period_us", &period, &none);

	if (!known || quota < 0 || period <= 0)
		return UINT_MAX;
	long long whole = quota / period + (quota % period > 0);
	return whole < 1 ? 1 : whole < UINT_MAX ? (unsigned)whole : UINT_MAX;
}

/* The smallest from the group in dir up to the one at its first `top` bytes. */
static unsigned quota_up(char *dir, size_t top, bool v2)
{
	unsigned least = UINT_MAX;

	for (char *cut = dir; cut;) {
		unsigned here = quota_of(dir, v2);
		if (here < least)
			least = here;
		cut = strrchr(dir + top, '/');
		if (cut)
			*cut = '\0';
	}
	return least;
}

/* The path of the process's group as its hierarchy counts it: a line of /proc/self/cgroup is "number:controllers:path", and that of
   version 2 is "0::path". */
static bool group_path(const char *root, bool v2, char *path)
{
	char line[LINE], *list = NULL, *rest = NULL;
	bool found = false;

	snprintf(line, sizeof(line), "%s/proc/self/cgroup", root);
	FILE *file = fopen(line, "re");
	while (file && !found && next_line(file, line)) {
		list = strchr(line, ':');
		rest = list ? strchr(list + 1, ':') : NULL;
		if (!rest)
			continue;
		*rest = '\0';
		found = v2 ? !strncmp(line, "0:", 2) && !list[1] : lists(list + 1, "cpu");
	}
	if (file)
		fclose(file);
	if (found)
		strcpy(path, rest + 1);
	return found;
}

/* Of the hierarchy mounted at `mount`, whose top there is its group `top`. */
static unsigned quota_in(const char *root, const char *top, const char *mount, bool v2)
{
	char path[LINE], dir[PATH];
	size_t n = strcmp(top, "/") ? strlen(top) : 0;

	if (!group_path(root, v2, path))
		return UINT_MAX;
	/* The process's group is below the mounted one, or (seen from within a container) not to be seen: then that one counts. */
	bool below = !strncmp(path, top, n) && (path[n] == '/' || !path[n]);
	snprintf(dir, sizeof(dir), "%s%s%s", root, mount, below && strcmp(path + n, "/") ? path + n : "");
	return quota_up(dir, strlen(root) + strlen(mount), v2);
}

/* A line of mountinfo is "id parent device top mount options ... - type source options". */
unsigned exsi_quota(const char *root)
{
	char line[LINE], top[LINE], mount[LINE], type[LINE], options[LINE];
	unsigned least = UINT_MAX;

	snprintf(line, sizeof(line), "%s/proc/self/mountinfo", root);
	FILE *file = fopen(line, "re");
	while (file && next_line(file, line)) {
		const char *tail = strstr(line, " - ");
		if (!tail || sscanf(line, "%*s %*s %*s %s %s", top, mount) != 2 ||
		    sscanf(tail, " - %s %*s %s", type, options) != 2)
			continue;
		bool v2 = !strcmp(type, "cgroup2");
		if (!v2 && (strcmp(type, "cgroup") || !lists(options, "cpu")))
			continue;
		unsigned here = quota_in(root, top, mount, v2);
		if (here < least)
			least = here;
	}
	if (file)
		fclose(file);
	return least;
}

static unsigned processors(void)
{
#ifdef __linux__
	cpu_set_t set;

	if (!sched_getaffinity(0, sizeof(set), &set) && CPU_COUNT(&set) > 0)
		return (unsigned)CPU_COUNT(&set);
#endif
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	return n > 0 ? (unsigned)n : 1;
}

unsigned exsi_cores_under(const char *root)
{
	unsigned n = processors(), quota = exsi_quota(root);

	return quota < n ? quota : n;
}

unsigned exsi_cores(void)
{
	return exsi_cores_under("");
}
