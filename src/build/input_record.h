/* What is kept of the inputs that a site, or one of its experts, was seen with. */
#ifndef SPATE_BUILD_INPUT_RECORD_H
#define SPATE_BUILD_INPUT_RECORD_H

#include "build/network_walk.h"

enum { RECORD_SAMPLE = 512 }; /* rows kept, at most */

struct input_record {
  int cols, group, n_sample;
  size_t total, seen; /* rows that there are, and that were looked at */
  size_t stride;      /* from one row of the sample to the next */
  float *mean, *peak; /* [cols] of |x| */
  float *sample;      /* [n_sample][cols] rows at equal distances */
  float *metric;      /* [cols][group] of quantize.h; NULL for group 0 */
};

/* For `total` rows, of which it keeps at most `most`, RECORD_SAMPLE or fewer. Release it in any case. */
bool input_record_begin(struct input_record *record, int cols, int group, size_t total, int most, struct error *error);
/* The next of them. */
void input_record_add(struct input_record *record, const float *rows, size_t count, int n_thread);

/* Looks at all windows. */
bool input_record_make(struct input_record *record, const struct network_walk *walk, const struct walk_site *site,
                       int group, int n_thread, struct error *error);
void input_record_release(struct input_record *record);

/* Sums of products, as they grow. */
struct input_sums {
  struct float_product product;
  float *columns; /* [cols][step] a step's rows, turned */
  float *sums;    /* [cols][cols] */
  int cols, step;
};

/* For `step` rows at a time. Release it in any case. */
bool input_sums_begin(struct input_sums *sums, const struct float_device *device, int cols, int step,
                      struct error *error);
bool input_sums_add(struct input_sums *sums, const float *rows, size_t count, struct error *error);
void input_sums_release(struct input_sums *sums);

/* The sums over all windows of inputs' products with each other (XᵀX): [cols][cols], the caller frees it. NULL on
 * failure. */
float *input_sums_make(const struct network_walk *walk, const struct walk_site *site, struct error *error);

#endif
