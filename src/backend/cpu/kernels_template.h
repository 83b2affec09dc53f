/* A whole kernel set over the vector primitives of the file that includes this one: vector_*.h, vector_math_*.h, struct
 * vdot, and those of words_template.h if it defines WORD_KERNELS. No include guard: each instruction set's file
 * includes it once and gets its own static functions. */
#include "backend/cpu/cpu_kernels.h"
#include "base/half.h"

#include <math.h>

#include "backend/cpu/kernel_macros.h"
#include "backend/cpu/function_template.h"
#include "backend/cpu/tile_template.h"
#include "backend/cpu/unit_template.h"
#include "backend/cpu/adapter_template.h"
#include "backend/cpu/tail_template.h"
#include "backend/cpu/float_template.h"
#include "backend/cpu/integer_template.h"
#include "backend/cpu/tile_choice_template.h"
#include "backend/cpu/linear_template.h"
#include "backend/cpu/row_template.h"
#include "backend/cpu/product_template.h"
#include "backend/cpu/attend_state_template.h"
#include "backend/cpu/attend_vectors_template.h"
#include "backend/cpu/attend_template.h"

#define KERNEL_SET(set_name, set_available)                                                                            \
  {                                                                                                                    \
    .name = set_name, .available = set_available, .rms_norm = rms_norm, .layer_norm = layer_norm, .prepare = prepare,  \
    .linear = linear, .shrink = shrink, .attend = {                                                                    \
      .attend = attend,                                                                                                \
      .store = attend_store,                                                                                           \
      .narrow = narrow                                                                                                 \
    }                                                                                                                  \
  }
