/* quant_mode auto: schemes for the matrices by how much each would lose, within an average of target_bits. */
#ifndef SPATE_BUILD_AUTO_CHOICE_H
#define SPATE_BUILD_AUTO_CHOICE_H

#include "build/scheme_choice.h"

enum { TARGET_BITS_LEAST = 2, TARGET_BITS_MOST = 16 };

/* target_bits belongs to quant_mode auto and to nothing else. */
bool auto_check(const struct scheme_wish *wish, struct error *error);

/* Sets the schemes of the matrices that no override names; the others, settled before, count as they are. What counts
 * is what stands in the engine file, scales and padding too. Reads some rows of each matrix. */
bool auto_choose(struct plan *plan, const struct checkpoint *checkpoint, const struct scheme_wish *wish,
                 const struct backend *backend, struct error *error);

/* Bits that a number of the plan's matrices takes on average, in the backend's layout. */
double auto_average(const struct plan *plan, const struct backend *backend);

#endif
