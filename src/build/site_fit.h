/* What a method that makes factors has found for a site, and where it belongs among the weights' transforms. */
#ifndef SPATE_BUILD_SITE_FIT_H
#define SPATE_BUILD_SITE_FIT_H

#include "build/scale_fold.h"
#include "build/weight_transform.h"

/* Of the calibration's arena; NULL: none. */
struct site_fit {
  const float *column;  /* [cols] on the columns of the site's matrices */
  const float *inverse; /* [fold's n_channel] on what the site's input comes from */
  const float *metric;  /* [site_metric_count] of the site's matrices */
};

void site_fit_set(struct weight_transform *transforms, const struct plan *plan, const struct walk_site *site,
                  const struct scale_fold *fold, const struct site_fit *fit);
struct site_fit site_fit_get(const struct weight_transform *transforms, const struct plan *plan,
                             const struct walk_site *site, const struct scale_fold *fold);

/* The group of the site's integer matrices, of a mixture's those that all tokens are multiplied with; 0 when they have
 * none, or several. */
int site_group(const struct plan *plan, const struct walk_site *site);
/* Numbers of quantize_row's metric. */
size_t site_metric_count(int cols, int group);

#endif
