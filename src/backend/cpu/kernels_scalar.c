/* The kernel set in portable C: any machine, and the plainest reading of the template. */
#include "backend/cpu/vector_math_scalar.h"

#include "backend/cpu/kernels_template.h"

static bool scalar_available(void) { return true; }

const struct kernel_set kernel_set_scalar = KERNEL_SET("scalar", scalar_available);
