/* AWQ's rule: the mean size of a channel's inputs, to a power, spread evenly around 1. */
#include "build/channel_scale.h"

#include <math.h>

void awq_scale(const float *mean, const float *peak, const float *weight_peak, int n_channel, float strength,
               float *scale) {
  (void)peak, (void)weight_peak;
  float least = channel_least(mean, n_channel), low = INFINITY, high = 0;
  for (int i = 0; i < n_channel; i++) {
    scale[i] = powf(fmaxf(mean[i], least), strength);
    low = fminf(low, scale[i]);
    high = fmaxf(high, scale[i]);
  }
  float middle = sqrtf(low * high);
  for (int i = 0; i < n_channel; i++) scale[i] /= middle;
}
