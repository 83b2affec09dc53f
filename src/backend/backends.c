/* The table of backends. */
#include "backend/backends.h"

#include <string.h>

const struct backend *backend_find(const char *name) {
  static const struct backend *const backends[] = {&backend_cpu, &backend_cuda, &backend_reference, &backend_null,
                                                   &backend_late};
  for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
    if (strcmp(backends[i]->name, name) == 0) return backends[i];
  return NULL;
}
