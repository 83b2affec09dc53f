/* SmoothQuant's rule: s = max|x|^α / max|w|^(1 − α). Strength 0 is no scale at all; α runs from there as the strength.
 */
#include "build/channel_scale.h"

#include <math.h>

void smooth_scale(const float *mean, const float *peak, const float *weight_peak, int n_channel, float strength,
                  float *scale) {
  (void)mean;
  static const float least = 1e-5f;
  for (int i = 0; i < n_channel; i++) {
    float x = fmaxf(peak[i], least), w = fmaxf(weight_peak[i], least);
    scale[i] = strength > 0 ? powf(x, strength) / powf(w, 1 - strength) : 1;
    scale[i] = fmaxf(scale[i], least);
  }
}
