/* Which device a model runs on when the caller leaves it open. */
#ifndef SPATE_BACKEND_DEVICE_CHOICE_H
#define SPATE_BACKEND_DEVICE_CHOICE_H

#include "plan/backend.h"

/* wanted: "cpu", "cuda", or "auto" (NULL): the GPU when there is one. One that is there and cannot be used is an error,
 * whose sentence says how to do without it: what was meant to run on a GPU is not quietly run on a CPU. */
bool device_choose(const char *wanted, const struct backend **backend, struct error *error);

#endif
