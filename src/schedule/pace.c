/* The line through recent steps. */
#include "schedule/pace.h"

static const double decay = 0.97;       /* the last 30 steps or so count */
static const double prompt_share = 0.8; /* of the time of a step's decode tokens */
static const double quick_step_us = 15000;
static const double least_spread = 4; /* variance of the steps' tokens below which no slope can be told */

enum { UNMEASURED_SHARE = 4, LEAST = 16 };

void pace_observe(struct pace *pace, int tokens, uint64_t us) {
  double x = tokens, y = (double)us;
  pace->weight = pace->weight * decay + 1;
  pace->x = pace->x * decay + x;
  pace->y = pace->y * decay + y;
  pace->xx = pace->xx * decay + x * x;
  pace->xy = pace->xy * decay + x * y;
}

int pace_prompt_tokens(const struct pace *pace, int decoding, int max_tokens) {
  double w = pace->weight, spread = w > 0 ? pace->xx / w - pace->x / w * (pace->x / w) : 0;
  double per_token = spread >= least_spread ? (pace->xy / w - pace->x / w * (pace->y / w)) / spread : 0;
  double tokens = (double)max_tokens / UNMEASURED_SHARE;
  if (per_token > 0) {
    double decode_us = pace->y / w + per_token * (decoding - pace->x / w);
    tokens = prompt_share * (decode_us > quick_step_us ? decode_us : quick_step_us) / per_token;
  }
  int left = max_tokens - decoding;
  if (tokens < LEAST) tokens = LEAST;
  return tokens < left ? (int)tokens : left;
}
