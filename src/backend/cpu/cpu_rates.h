/* Measuring what this machine can do at most: the floors of benches. */
#ifndef SPATE_BACKEND_CPU_RATES_H
#define SPATE_BACKEND_CPU_RATES_H

#include "backend/cpu/team.h"
#include "plan/backend.h"

/* All threads of the team together, the best of several short runs each; about a second. */
bool cpu_rates_measure(struct team *team, struct machine_rates *rates, struct error *error);

#endif
