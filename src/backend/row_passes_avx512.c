/* Passes over rows for x86 machines with AVX-512: compiled with -mavx512f (CMakeLists.txt), chosen by row_passes.c. */
#define ROW_PASSES row_passes_avx512
extern const struct row_passes row_passes_avx512;
#include "backend/row_passes_template.h"
