/* How many processors: affinity, and the quotas of control groups in a tree made for it. */
#define _GNU_SOURCE
#include "base/cores.h"
#include "harness.h"

#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[64];

static void put(const char *path, const char *text)
{
	char name[512];

	snprintf(name, sizeof(name), "%s%s", root, path);
	for (char *p = name + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(name, 0700);
		*p = '/';
	}
	FILE *file = fopen(name, "w");
	CHECK(file);
	CHECK(fputs(text, file) >= 0);
	CHECK(!fclose(file));
}

static void begin(const char *cgroup, const char *mountinfo)
{
	snprintf(root, sizeof(root), "/tmp/exs-cores-XXXXXX");
	CHECK(mkdtemp(root));
	put("/proc/self/cgroup", cgroup);
	put("/proc/self/mountinfo", mountinfo);
}

static int delete (const char *path, const struct stat *s, int type, struct FTW *ftw)
{
	(void)s, (void)type, (void)ftw;
	return remove(path);
}

static void end(void)
{
	CHECK(!nftw(root, delete, 8, FTW_DEPTH | FTW_PHYS));
}

/* Rounded up; at least 1. */
TEST(cores, quota_of_a_group)
{
	const struct {
		const char *max;
		unsigned cores;
	} cases[] = {
		{"max 100000\n", UINT_MAX}, {"200000 100000\n", 2}, {"150000 100000\n", 2}, {"100001 100000\n", 2},
		{"1000 100000\n", 1},	    {"0 100000\n", 1},	    {"", UINT_MAX},	    {"nonsense\n", UINT_MAX},
		{"100000\n", UINT_MAX},	    {"5 0\n", UINT_MAX},    {"-1 100\n", UINT_MAX}, {"300000 100000", 3},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		begin("0::/a\n", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
		CHECK_INT(exsi_quota(root), UINT_MAX);
		put("/sys/fs/cgroup/a/cpu.max", cases[i].max);
		CHECK_INT(exsi_quota(root), cases[i].cores);
		end();
	}
}

TEST(cores, smallest_of_nested_groups)
{
	begin("0::/a/b/c\n", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	put("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
	CHECK_INT(exsi_quota(root), UINT_MAX);
	put("/sys/fs/cgroup/a/b/cpu.max", "500000 100000\n");
	CHECK_INT(exsi_quota(root), 5);
	put("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
	CHECK_INT(exsi_quota(root), 3);
	put("/sys/fs/cgroup/a/b/c/cpu.max", "400000 100000\n");
	CHECK_INT(exsi_quota(root), 3);
	put("/sys/fs/cgroup/a/b/c/d/cpu.max", "100000 100000\n"); /* not ours */
	put("/sys/fs/cgroup/b/cpu.max", "100000 100000\n");
	CHECK_INT(exsi_quota(root), 3);
	put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
	CHECK_INT(exsi_quota(root), 2);
	end();
}

TEST(cores, version_1)
{
	begin("12:cpuset:/x\n4:memory:/m\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n0::/docker\n",
	      "30 23 0:26 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
	      "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct\n"
	      "32 23 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
	put("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "-1\n");
	put("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
	put("/sys/fs/cgroup/cpuset/x/cpu.cfs_quota_us", "100000\n");
	put("/sys/fs/cgroup/cpuset/x/cpu.cfs_period_us", "100000\n");
	CHECK_INT(exsi_quota(root), UINT_MAX);
	put("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "350000\n");
	CHECK_INT(exsi_quota(root), UINT_MAX); /* without a period */
	put("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n");
	CHECK_INT(exsi_quota(root), 4);
	put("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "250000\n");
	CHECK_INT(exsi_quota(root), 3);
	put("/sys/fs/cgroup/unified/docker/cpu.max", "100 100\n"); /* both are there: the smaller */
	CHECK_INT(exsi_quota(root), 1);
	end();
}

/* Inside a container the mounted top is a group further down, or the path is one that cannot be seen. */
TEST(cores, in_a_container)
{
	begin("3:cpu:/docker/abc/inner\n", "31 23 0:27 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n");
	put("/sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "200000\n");
	put("/sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000\n");
	CHECK_INT(exsi_quota(root), 2);
	put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");
	put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000\n");
	CHECK_INT(exsi_quota(root), 1);
	end();
	begin("0::/docker/abcd\n", "31 23 0:27 /docker/abc /cgroup rw - cgroup2 none rw\n");
	put("/cgroup/cpu.max", "200000 100000\n");
	put("/cgroup/d/cpu.max", "100000 100000\n");
	CHECK_INT(exsi_quota(root), 2);
	end();
	begin("0::/\n", "31 23 0:27 / /cgroup rw - cgroup2 none rw\n");
	put("/cgroup/cpu.max", "200000 100000\n");
	CHECK_INT(exsi_quota(root), 2);
	end();
}

TEST(cores, files_with_nonsense)
{
	char line[5000];

	begin("", "");
	CHECK_INT(exsi_quota(root), UINT_MAX);
	put("/proc/self/mountinfo", "31 23 0:27 / /cgroup rw - cgroup2 none rw\n");
	put("/cgroup/cpu.max", "200000 100000\n");
	CHECK_INT(exsi_quota(root), UINT_MAX);
	put("/proc/self/cgroup", "\n:\n::\n0\n0:\n3:cpuset,cpuacct:/\n0::/\n");
	CHECK_INT(exsi_quota(root), 2);
	memset(line, 'x', sizeof(line));
	snprintf(line + 3000, sizeof(line) - 3000,
		 "\n - \n31 23 - cgroup2 none rw\n31 23 0:27 / /cgroup rw - cgroup2 none rw\n");
	put("/proc/self/mountinfo", line);
	CHECK_INT(exsi_quota(root), 2);
	snprintf(line + 3000, sizeof(line) - 3000, " - cgroup2 none rw");
	put("/proc/self/mountinfo", line);
	CHECK_INT(exsi_quota(root), UINT_MAX);
	end();
	CHECK_INT(exsi_quota(root), UINT_MAX); /* nothing is there */
}

/* Of the processors allowed, no more than the quota lets run. */
TEST(cores, the_smaller_of_affinity_and_quota)
{
	cpu_set_t all;

	CHECK(!sched_getaffinity(0, sizeof(all), &all));
	unsigned allowed = (unsigned)CPU_COUNT(&all);
	begin("0::/a\n", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	CHECK_INT(exsi_cores_under(root), allowed);
	put("/sys/fs/cgroup/a/cpu.max", "100000 100000\n");
	CHECK_INT(exsi_cores_under(root), 1);
	put("/sys/fs/cgroup/a/cpu.max", "99999900000 100000\n");
	CHECK_INT(exsi_cores_under(root), allowed);
	end();
	CHECK_INT(exsi_cores(), exsi_cores_under(""));
}

TEST(cores, affinity)
{
	cpu_set_t all, one;

	CHECK(!sched_getaffinity(0, sizeof(all), &all));
	CHECK(exsi_cores() >= 1 && exsi_cores() <= (unsigned)CPU_COUNT(&all));
	CPU_ZERO(&one);
	for (int i = 0; !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	CHECK(!sched_setaffinity(0, sizeof(one), &one));
	CHECK_INT(exsi_cores(), 1);
	CHECK(!sched_setaffinity(0, sizeof(all), &all));
}
