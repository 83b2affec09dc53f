/* For x86 machines with AVX2: compiled for it (src/CMakeLists.txt), chosen by product_subtract.c. */
#include "build/product_subtract_body.h"

#if defined(__x86_64__)
void product_subtract_avx2(const struct product_operands *operands);
void product_subtract_avx2(const struct product_operands *operands) { rows_subtract(operands); }
#endif
