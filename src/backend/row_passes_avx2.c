/* Passes over rows for x86 machines with AVX2: compiled with -mavx2 (CMakeLists.txt), chosen by row_passes.c. */
#define ROW_PASSES row_passes_avx2
extern const struct row_passes row_passes_avx2;
#include "backend/row_passes_template.h"
