/* The times of streams and prompts. */
#include "schedule/pace.h"

#include <math.h>
#include <stdbool.h>

static const double prompt_share = 0.75; /* of the time of the streams' own step */
static const double quick_step_us = 15000;
static const double memory = 0.2; /* weight of a new step */

enum { UNMEASURED_SHARE = 4, LEAST = 8, CERTAIN = 16, FULL_CHUNK = 256 };

static double least_of(double a, double b) { return a < b ? a : b; }

static void average(double *mean, double value, double weight) {
  *mean = *mean > 0 ? *mean + weight * (value - *mean) : value;
}

/* What the tokens of so many streams take. More streams than were measured cost their share, at most. */
static double own_us(const struct pace *pace, int streams) {
  return streams > pace->streams && pace->streams > 0 ? pace->stream_us * streams / pace->streams : pace->stream_us;
}

/* What prompt tokens add to a step. More streams than were measured may cost less than their share, which must not make
 * prompts look free: then a prompt token costs a quarter of what a token of the step does, at least. */
static double prompts_us(const struct pace *pace, int streams, int prompt_tokens, double us) {
  if (streams == 0) return us;
  double added = us - own_us(pace, streams), least = us * prompt_tokens / (4.0 * (streams + prompt_tokens));
  return streams > pace->streams && added < least ? least : added;
}

/* Few prompt tokens say little about one. */
void pace_observe(struct pace *pace, int streams, int prompt_tokens, uint64_t us) {
  double certainty = prompt_tokens < CERTAIN ? (double)prompt_tokens / CERTAIN : 1;
  if (prompt_tokens == 0) {
    average(&pace->stream_us, (double)us, memory);
    average(&pace->streams, streams, memory);
    return;
  }
  double added = prompts_us(pace, streams, prompt_tokens, (double)us);
  if (added > 0 && (streams == 0 || pace->stream_us > 0))
    average(&pace->prompt_us, added / prompt_tokens, memory * certainty);
}

double pace_aside_us(const struct pace *pace, int streams) { return ASIDE_SHARE * own_us(pace, streams); }

int pace_prompt_tokens(const struct pace *pace, int streams, int requests, double aside_us, int max_tokens, int tile) {
  double own = own_us(pace, streams);
  bool quick = own < quick_step_us;
  double each = prompt_share * (quick ? quick_step_us : own), all = each * requests;
  double limited = quick_step_us + each - own;
  if (quick && (streams >= requests || limited >= FULL_CHUNK * pace->prompt_us)) all = least_of(all, limited);
  double tokens = (double)max_tokens / UNMEASURED_SHARE * requests;
  int left = max_tokens - streams;
  if (pace->stream_us > 0 && pace->prompt_us > 0) tokens = (all - aside_us) / pace->prompt_us;
  if (tokens < LEAST) tokens = LEAST;
  if (tile > 0) tokens = ceil((streams + tokens) / tile) * tile - streams;
  return tokens < left ? (int)tokens : left;
}
