/* What is kept of the inputs that a site was seen with. */
#ifndef SPATE_BUILD_INPUT_RECORD_H
#define SPATE_BUILD_INPUT_RECORD_H

#include "build/network_walk.h"

enum { RECORD_SAMPLE = 512 }; /* rows kept, at most */

struct input_record {
  int cols, group, n_sample;
  float *mean, *peak; /* [cols] of |x| */
  float *sample;      /* [n_sample][cols] rows at equal distances */
  float *metric;      /* [cols][group] of quantize.h; NULL for group 0 */
};

/* Looks at all windows. */
bool input_record_make(struct input_record *record, const struct network_walk *walk, const struct walk_site *site,
                       int group, int n_thread, struct error *error);
void input_record_release(struct input_record *record);

/* The sums over all windows of inputs' products with each other (XᵀX): [cols][cols], the caller frees it. NULL on
 * failure. */
float *input_sums_make(const struct network_walk *walk, const struct walk_site *site, struct error *error);

#endif
