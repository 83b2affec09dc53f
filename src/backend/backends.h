/* The backends that this binary holds. */
#ifndef SPATE_BACKEND_BACKENDS_H
#define SPATE_BACKEND_BACKENDS_H

#include "plan/backend.h"

extern const struct backend backend_cpu, backend_cuda, backend_reference, backend_null, backend_late;

/* By name ("cpu", "cuda", "reference", "null", "late"), or NULL. */
const struct backend *backend_find(const char *name);

#endif
