/* The choice, and the loop for any machine. */
#include "build/product_subtract_body.h"

#if defined(__x86_64__)
void product_subtract_avx2(const struct product_operands *operands);
void product_subtract_avx512(const struct product_operands *operands);
#endif

void product_subtract(const struct product_operands *operands) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) {
    product_subtract_avx512(operands);
    return;
  }
  if (__builtin_cpu_supports("avx2")) {
    product_subtract_avx2(operands);
    return;
  }
#endif
  rows_subtract(operands);
}
