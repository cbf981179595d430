/* How many processors this process may use. */
#ifndef EXSI_BASE_CORES_H
#define EXSI_BASE_CORES_H

/* Those of its affinity, but no more than the quota of its control groups lets run at a time; at least 1. */
unsigned exsi_cores(void);
unsigned exsi_cores_under(const char *root); /* exsi_quota's */

/* The quota alone, rounded up, at least 1; UINT_MAX: none. The smallest of all groups around the process, in version 2 (cpu.max)
   and version 1 (cpu.cfs_quota_us). root stands before every file name: "" but in a test. */
unsigned exsi_quota(const char *root);

#endif
