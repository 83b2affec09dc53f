/* Passes for x86 machines with AVX2: compiled with -mavx2 (src/CMakeLists.txt), chosen by resize_passes.c. */
#if defined(__x86_64__)
#define RESIZE_PASSES resize_passes_avx2
extern const struct resize_passes resize_passes_avx2;
#include "image/resize_passes_template.h"
#else
typedef int no_passes;
#endif
