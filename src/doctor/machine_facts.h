/* What this machine has and allows, from files of the kernel and the process's own limits. */
#ifndef SPATE_DOCTOR_MACHINE_FACTS_H
#define SPATE_DOCTOR_MACHINE_FACTS_H

#include "doctor/fact.h"

/* root: put before /proc and /sys paths, "" but for tests. cache: the folder of built engines, or where it would be.
 * What cannot be read stays unknown. */
void machine_facts_find(struct facts *facts, const char *root, const char *cache);

#endif
