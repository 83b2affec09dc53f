/* Which quant_modes would make an engine of a model that fits in memory. */
#ifndef SPATE_BUILD_FITTING_MODES_H
#define SPATE_BUILD_FITTING_MODES_H

#include "build/draft.h"
#include "plan/backend.h"

enum { FITTING_TEXT = 192 };

/* A sentence for a settled draft whose engine does not fit in `available` bytes: the modes whose engine would, largest
 * first, with the draft's overrides and limits, or what else to change. Returns out. */
const char *fitting_modes(const struct draft *draft, const struct backend *backend, uint64_t available,
                          char out[FITTING_TEXT]);

#endif
