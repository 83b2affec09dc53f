/* The times of streams and prompts. */
#include "schedule/pace.h"

static const double prompt_share = 0.75; /* of the time of the streams' own step */
static const double quick_step_us = 15000;
static const double memory = 0.2; /* weight of a new step */

enum { UNMEASURED_SHARE = 4, LEAST = 8, CERTAIN = 16 };

static void average(double *mean, double value, double weight) {
  *mean = *mean > 0 ? *mean + weight * (value - *mean) : value;
}

/* Few prompt tokens say little about one. With many streams since the last step of streams alone, their tokens count
 * as the prompts': chunks are too small then, never too large. */
void pace_observe(struct pace *pace, int streams, int prompt_tokens, uint64_t us) {
  double prompts_us = streams > 0 ? (double)us - pace->stream_us : (double)us;
  double certainty = prompt_tokens < CERTAIN ? (double)prompt_tokens / CERTAIN : 1;
  if (prompt_tokens == 0)
    average(&pace->stream_us, (double)us, memory);
  else if (prompts_us > 0 && (streams == 0 || pace->stream_us > 0))
    average(&pace->prompt_us, prompts_us / prompt_tokens, memory * certainty);
}

int pace_prompt_tokens(const struct pace *pace, int streams, int requests, int max_tokens) {
  double own_us = pace->stream_us > quick_step_us ? pace->stream_us : quick_step_us;
  double tokens = (double)max_tokens / UNMEASURED_SHARE;
  int left = max_tokens - streams;
  if (pace->stream_us > 0 && pace->prompt_us > 0) tokens = prompt_share * own_us / pace->prompt_us;
  tokens *= requests;
  if (tokens < LEAST) tokens = LEAST;
  return tokens < left ? (int)tokens : left;
}
