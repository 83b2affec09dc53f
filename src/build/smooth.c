/* SmoothQuant's rule: s = max|x|^α / max|w|^(1 − α). Strength 0 is no scale at all; α runs from there as the strength.
 */
#include "build/channel_scale.h"

#include <math.h>

void smooth_scale(const float *mean, const float *peak, const float *weight_peak, int n_channel, float strength,
                  float *scale) {
  (void)mean;
  float least_x = channel_least(peak, n_channel), least_w = channel_least(weight_peak, n_channel);
  for (int i = 0; i < n_channel; i++) {
    float x = fmaxf(peak[i], least_x), w = fmaxf(weight_peak[i], least_w);
    scale[i] = strength > 0 ? powf(x, strength) / powf(w, 1 - strength) : 1;
  }
}
