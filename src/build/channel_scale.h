/* Factors on the input columns of a site's matrices, whose inverses are folded away: found among those that a rule
 * makes for strengths from 0 (none) to 1, as the ones with which the rounded matrices' products are nearest to the
 * true. */
#ifndef SPATE_BUILD_CHANNEL_SCALE_H
#define SPATE_BUILD_CHANNEL_SCALE_H

#include "build/input_record.h"
#include "build/scale_fold.h"

/* Fills scale[n_channel] for a strength. mean and peak are of |x|, weight_peak of |w|, each over what shares a channel.
 */
typedef void (*scale_rule)(const float *mean, const float *peak, const float *weight_peak, int n_channel,
                           float strength, float *scale);

/* What a smaller number of a channel counts as: a channel that the calibration text hardly used is not for that made
 * ten thousand times larger or smaller than others. */
float channel_least(const float *numbers, int n_channel);

/* awq.c: AWQ (Lin et al., 2023): columns that large inputs meet are enlarged. smooth.c: SmoothQuant (Xiao et al.,
 * 2022): inputs' peaks are moved into the weights. */
void awq_scale(const float *mean, const float *peak, const float *weight_peak, int n_channel, float strength,
               float *scale);
void smooth_scale(const float *mean, const float *peak, const float *weight_peak, int n_channel, float strength,
                  float *scale);

/* The matrices of a site. */
struct scale_site {
  const struct scale_fold *fold;
  const struct input_record *record; /* with a sample */
  const struct float_device *device;
  int n_matrix, n_thread;
  int most_rows; /* of a matrix that are tried, at equal distances, which stand for all; 0: all are */
  const struct weight *const *weight; /* [n_matrix] with the schemes that they get */
  float *const *matrix;               /* [n_matrix][rows][cols] */
};

/* --- a search step by step, for channels that many sites read -------------------------------------------------------
 */

enum { SCALE_STRENGTHS = 21 }; /* 0, 0.05, …, 1 */

struct channel_search {
  const struct scale_fold *fold;
  scale_rule rule;
  float *mean, *peak, *weight_peak; /* [n_channel] */
  float *channel, *column;          /* of the strength that is tried: [n_channel], [cols] */
  const float *least, *most;        /* [n_channel] that scales stay within; the caller's, NULL: any */
  double loss[SCALE_STRENGTHS];
  int cols;
};

/* Of the inputs of all. Release it in any case. */
bool channel_search_begin(struct channel_search *search, const struct scale_fold *fold, scale_rule rule,
                          const struct input_record *record, struct error *error);
/* First all matrices are looked at, */
void channel_search_look(struct channel_search *search, const float *matrix, size_t rows);
/* then all strengths tried with each site's own inputs, whose losses count `share` times. */
bool channel_search_try(struct channel_search *search, const struct scale_site *site, double share,
                        struct error *error);
/* The best scales into channel[n_channel] and column[cols]. */
void channel_search_end(const struct channel_search *search, float *channel, float *column);
void channel_search_release(struct channel_search *search);

/* All of this for one site: the best scales into channel[fold->n_channel], the same for each input column into
 * column[cols]. */
bool channel_scale_search(const struct scale_site *site, scale_rule rule, float *channel, float *column,
                          struct error *error);

#endif
