/* GPTQ's act-order without a permutation at inference. A matrix whose groups' columns lie apart can keep its codes once
 * the columns of a group stand side by side. Its input must come in that order then, which costs nothing where it is
 * made by rows that can be stored in the same order: gate and up before down. Matrices that read the residual stream
 * share it, each with an order of its own, and what attention makes is bound to its heads: those are left as they are.
 * Each expert of a mixture has an order of its own in its down, gate and up. */
#ifndef SPATE_BUILD_ACT_ORDER_H
#define SPATE_BUILD_ACT_ORDER_H

#include "model/checkpoint.h"
#include "plan/plan.h"

/* The order that the weight's columns are to be stored in ([cols], the file's column at each place), and that of the
 * rows of each of its parts, of experts the given one's; NULL: the file's. Arrays of the checkpoint. */
const int *act_order_columns(const struct plan *plan, int weight, const struct checkpoint *checkpoint, int expert);
const int *act_order_rows(const struct plan *plan, int weight, const struct checkpoint *checkpoint, int expert);

#endif
