/* An adapter that becomes part of the matrices before they are rounded: W + scale · (α ÷ r) · B · A, with DoRA's norms,
 * and what it adds to biases. */
#ifndef SPATE_BUILD_MERGE_ADAPTER_H
#define SPATE_BUILD_MERGE_ADAPTER_H

#include "build/draft.h"
#include "build/weight_transform.h"

struct merge_adapter;

/* given: the adapter's path, and perhaps = and a scale. The draft is settled. Reads the matrices once where there are
 * magnitudes. */
struct merge_adapter *merge_adapter_open(const char *given, const struct draft *draft, struct error *error);
void merge_adapter_close(struct merge_adapter *merge); /* NULL is allowed */

/* For each weight of the plan what becomes of it, for pack_job. */
const struct weight_transform *merge_adapter_transforms(const struct merge_adapter *merge);

/* On the numbers of a weight's row, or a vector, as the file has them; refused when they become none that is finite, by
 * a sentence that lacks its subject. */
bool merge_row(const struct weight_merge *merge, const struct weight *weight, int row, float *out, struct error *error);
bool merge_vector(const struct weight_merge *merge, int count, float *out, struct error *error);

/* All that decides what comes of it. */
void merge_hash(const struct weight_merge *merge, const struct plan *plan, struct hasher *hasher);

#endif
