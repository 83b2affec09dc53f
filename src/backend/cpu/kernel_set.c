/* Which kernel sets this binary holds, and the choice among them. */
#include "backend/cpu/cpu_kernels.h"

#include <stdlib.h>
#include <string.h>

extern const struct kernel_set kernel_set_amx, kernel_set_avx512bf16, kernel_set_avx512, kernel_set_avxvnni,
    kernel_set_avx2, kernel_set_neon, kernel_set_scalar;

const struct kernel_set *const kernel_sets[] = {
#ifdef __x86_64__
    &kernel_set_amx,    &kernel_set_avx512bf16,
    &kernel_set_avx512, &kernel_set_avxvnni,
    &kernel_set_avx2,
#endif
#ifdef __aarch64__
    &kernel_set_neon,
#endif
    &kernel_set_scalar, NULL,
};

static bool set_refuse(const char *isa, struct error *error) {
  char names[256] = "";
  for (const struct kernel_set *const *set = kernel_sets; *set; set++) {
    if (!(*set)->available()) continue;
    strcat(names, *names ? ", " : "");
    strcat(names, (*set)->name);
  }
  return error_set(error, ERROR_INVALID, "Kernel set '%s' cannot run on this machine; these can: %s.", isa, names);
}

const struct kernel_set *kernel_set_choose(const char *isa, struct error *error) {
  const char *forced = getenv("SPATE_ISA");
  if (forced && *forced) isa = forced;
  for (const struct kernel_set *const *set = kernel_sets; *set; set++)
    if ((!isa || strcmp(isa, (*set)->name) == 0) && (*set)->available()) return *set;
  set_refuse(isa, error);
  return NULL;
}
