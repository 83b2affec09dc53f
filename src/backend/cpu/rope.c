/* Rotary position embedding in plain C: the loops are simple enough for the compiler to vectorise. */
#include "backend/cpu/rope.h"

#include "plan/op.h"

#include <math.h>

void rope_angles(const float *frequency, int dim, float scale, const int32_t count[3], const int32_t place[3],
                 float *angles) {
  int half = dim / 2, i = 0;
  for (int axis = 0, end = 0; axis < 3; axis++)
    for (end += count[axis]; i < end; i++) {
      double angle = (double)place[axis] * (double)frequency[i];
      angles[i] = (float)(cos(angle) * (double)scale);
      angles[half + i] = (float)(sin(angle) * (double)scale);
    }
}

static void rotate_half(const float *restrict cosine, const float *restrict sine, int half, float *restrict low,
                        float *restrict high) {
  for (int i = 0; i < half; i++) {
    float x = low[i], y = high[i];
    low[i] = x * cosine[i] - y * sine[i];
    high[i] = x * sine[i] + y * cosine[i];
  }
}

static void rotate_pairs(const float *restrict cosine, const float *restrict sine, int half, float *restrict head) {
  for (int i = 0; i < half; i++) {
    float x = head[2 * i], y = head[2 * i + 1];
    head[2 * i] = x * cosine[i] - y * sine[i];
    head[2 * i + 1] = x * sine[i] + y * cosine[i];
  }
}

void rope_rotate(int style, const float *angles, int dim, float *head) {
  int half = dim / 2;
  if (style == ROPE_HALF) rotate_half(angles, angles + half, half, head, head + half);
  if (style == ROPE_PAIRS) rotate_pairs(angles, angles + half, half, head);
}
