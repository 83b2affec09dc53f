/* The walk, its comparisons and the proof. */
#include "cli/tune_search.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
  NOISE_RUNS = 3,  /* of the start, before anything else */
  TRIES_MIN = 2,   /* comparisons that make a candidate the best */
  REACH_MAX = 2,   /* steps that a candidate may be away */
  ROUNDS = 3,      /* in which nothing is better: then nothing is */
  TRIES_MAX = 6,   /* that are enough for one in doubt */
  PROOF_PAIRS = 3, /* at least: the walk leaves time for them */
};

static const double holding = 0.9, least_noise = 0.02, proof_part = 0.3; /* of the budget, at least */
static const double sure = 2.5, in_doubt = 0.25, proven = 2;             /* times the noise of a comparison */
static const double fading = 0.9;                                        /* a measurement that took long is forgotten */

bool tune_holds(const struct tune_score *score) { return score->within >= holding; }

bool tune_choice_same(const struct tune_search *search, const struct tune_choice *a, const struct tune_choice *b) {
  return memcmp(a->at, b->at, (size_t)search->n_axis * sizeof *a->at) == 0;
}

/* --- comparisons -------------------------------------------------------------------------------------------------- */

static double quotient(double a, double b) { return b > 0 ? a / b : a > 0 ? INFINITY : 1; }

/* How many times as good a is. What keeps the SLO is better than what does not, whatever their rates; of two that do
 * not, what misses it by less. */
static double ratio_of(const struct tune_score *a, const struct tune_score *b) {
  if (tune_holds(a) != tune_holds(b)) return tune_holds(a) ? INFINITY : 0;
  return tune_holds(a) ? quotient(a->rate, b->rate) : quotient(b->excess, a->excess);
}

static struct tune_score mean_of(const struct tune_score *a, const struct tune_score *b) {
  return (struct tune_score){(a->within + b->within) / 2, (a->rate + b->rate) / 2, (a->excess + b->excess) / 2};
}

static int number_order(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Of gains, which it sorts. Where one of the two in the middle is without bound, or is a failure, the lesser. */
static double median_gain(double *gains, int count) {
  qsort(gains, (size_t)count, sizeof *gains, number_order);
  double lower = gains[(count - 1) / 2], upper = gains[count / 2];
  return isinf(upper) ? lower : sqrt(lower * upper);
}

/* Sorts them. */
static double median(double *values, int count) {
  qsort(values, (size_t)count, sizeof *values, number_order);
  return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

double tune_search_noise(const struct tune_search *search) {
  double sorted[TUNE_NOISES];
  int count = search->n_noise < TUNE_NOISES ? search->n_noise : TUNE_NOISES;
  if (count == 0) return least_noise;
  memcpy(sorted, search->noise, (size_t)count * sizeof *sorted);
  return fmax(least_noise, expm1(median(sorted, count)));
}

/* What a mean over so many comparisons, as a logarithm, has to be more than. */
static double threshold(const struct tune_search *search, double times, int count) {
  return fmax(log1p(least_noise), times * log1p(tune_search_noise(search)) / sqrt(count));
}

static void noise_add(struct tune_search *search, const struct tune_score *again) {
  double difference = fabs(log(ratio_of(again, &search->before)));
  if (isfinite(difference)) search->noise[search->n_noise++ % TUNE_NOISES] = difference;
}

/* --- the walk ----------------------------------------------------------------------------------------------------- */

void tune_search_begin(struct tune_search *search, const struct tune_axis *axes, int n_axis, double budget_s,
                       bool (*fits)(const void *user, const struct tune_choice *choice), const void *user) {
  *search =
      (struct tune_search){.n_axis = n_axis, .budget_s = budget_s, .fits = fits, .user = user, .step = 1, .reach = 1};
  for (int i = 0; i < n_axis; i++) {
    search->axis[i] = axes[i];
    search->start.at[i] = axes[i].start;
  }
  search->best = search->start;
}

static void axis_next(struct tune_search *search) {
  search->idle = search->moved ? 1 : search->idle + 1; /* one that was walked to its end is settled, too */
  search->along = (search->along + 1) % search->n_axis;
  search->step = search->reach = 1;
  search->turned = search->moved = false;
}

/* After a step that paid there is nothing to look for behind it. */
static void turn(struct tune_search *search) {
  if (search->turned || search->moved) {
    axis_next(search);
  } else {
    search->turned = true;
    search->step = -1;
    search->reach = 1;
  }
}

/* Is a neighbour to be measured? A whole round has found nothing better: what looked so is looked at once more, by then
 * with a better notion of noise. */
static bool is_worth(const struct tune_search *search, int at) {
  if (at < 0 || at >= search->axis[search->along].count) return false;
  return (search->idle < search->n_axis || search->gain[search->along][at] > 1) &&
         search->fits(search->user, &search->candidate);
}

/* The next neighbour of the best; false: whole rounds have found none that is better. */
static bool candidate_find(struct tune_search *search) {
  while (search->idle < ROUNDS * search->n_axis) {
    int at = search->best.at[search->along] + search->step * search->reach;
    search->candidate = search->best;
    search->candidate.at[search->along] = at;
    if (is_worth(search, at)) return true;
    turn(search);
  }
  return false;
}

static void gain_note(struct tune_search *search, double ratio) {
  search->gain[search->along][search->candidate.at[search->along]] = ratio;
}

/* Settings are often flat before they are not. */
static void candidate_reject(struct tune_search *search, bool as_good) {
  search->stage = TUNE_CANDIDATE;
  search->tries = 0;
  if (as_good && search->reach < REACH_MAX)
    search->reach++;
  else
    turn(search);
}

static void candidate_take(struct tune_search *search) {
  search->stage = TUNE_CANDIDATE;
  search->tries = 0;
  search->best = search->candidate;
  search->before = search->tried;
  search->moved = true;
  search->reach = 1;
}

/* The best has been measured on both sides of the candidate. */
static void candidate_judge(struct tune_search *search, const struct tune_score *after) {
  struct tune_score beside = mean_of(&search->before, after);
  double gain = log(fmin(fmax(ratio_of(&search->tried, &beside), 1 / TUNE_GAIN_MOST), TUNE_GAIN_MOST));
  search->sum = search->tries++ ? search->sum + gain : gain;
  double mean = search->sum / search->tries;
  gain_note(search, exp(mean));
  noise_add(search, after);
  search->before = *after;
  if (search->tries >= TRIES_MIN && mean > threshold(search, sure, search->tries))
    candidate_take(search);
  else if (search->tries == TRIES_MAX || mean <= threshold(search, in_doubt, search->tries))
    candidate_reject(search, mean > -threshold(search, 1, search->tries));
  else
    search->stage = TUNE_CANDIDATE;
}

/* --- the budget --------------------------------------------------------------------------------------------------- */

_Static_assert(TUNE_RUNS_LEAST == NOISE_RUNS + 2 * TRIES_MIN + 2 * PROOF_PAIRS, "what one candidate takes");

double tune_search_least_budget(const struct tune_search *search) { return search->cost_s * TUNE_RUNS_LEAST; }

static double proof_reserve(const struct tune_search *search) {
  bool found = !tune_choice_same(search, &search->best, &search->start);
  return fmax(2 * PROOF_PAIRS * search->cost_s, found ? proof_part * search->budget_s : 0);
}

/* With the candidate in doubt, or a new one. */
static bool walk_goes_on(struct tune_search *search, double spent_s) {
  int tries = search->tries ? 1 : TRIES_MIN;
  double needed = 2 * tries * search->cost_s + proof_reserve(search);
  return spent_s + needed <= search->budget_s && (search->tries || candidate_find(search));
}

static bool proof_goes_on(const struct tune_search *search, double spent_s) {
  int runs = search->n_measured % 2 ? 1 : 2; /* a pair that has begun is finished */
  return !tune_choice_same(search, &search->best, &search->start) && search->n_measured < 2 * TUNE_PAIRS_MAX &&
         spent_s + runs * search->cost_s <= search->budget_s;
}

/* Which of the two comes next: start, best, best, start, start, best, ... */
static int proof_side(const struct tune_search *search) { return (search->n_measured + 1) / 2 % 2; }

bool tune_search_next(struct tune_search *search, double spent_s, struct tune_choice *choice) {
  if (search->stage == TUNE_CANDIDATE && !walk_goes_on(search, spent_s)) search->stage = TUNE_PROOF;
  if (search->stage != TUNE_OVER && spent_s + search->cost_s > search->budget_s) search->stage = TUNE_OVER;
  if (search->stage == TUNE_PROOF && !proof_goes_on(search, spent_s)) search->stage = TUNE_OVER;
  switch (search->stage) {
  case TUNE_NOISE: *choice = search->start; return true;
  case TUNE_CANDIDATE: *choice = search->candidate; return true;
  case TUNE_BESIDE: *choice = search->best; return true;
  case TUNE_PROOF: *choice = proof_side(search) ? search->best : search->start; return true;
  case TUNE_OVER: break;
  }
  return false;
}

static void proof_tell(struct tune_search *search, const struct tune_score *score) {
  static const struct tune_score none = {.excess = INFINITY};
  search->pair[proof_side(search)][search->n_measured / 2] = score ? *score : none;
  search->n_measured++;
}

static void noise_tell(struct tune_search *search, const struct tune_score *score) {
  if (search->n_measured++ > 0) noise_add(search, score);
  search->before = *score;
  if (search->n_measured < NOISE_RUNS) return;
  search->n_measured = 0;
  search->stage = TUNE_CANDIDATE;
}

void tune_search_tell(struct tune_search *search, const struct tune_score *score, double seconds) {
  search->cost_s = fmax(seconds, fading * search->cost_s);
  if (search->stage == TUNE_PROOF) {
    proof_tell(search, score);
  } else if (!score && search->stage != TUNE_CANDIDATE) { /* what ran before does no more */
    search->stage = TUNE_OVER;
  } else if (search->stage == TUNE_NOISE) {
    noise_tell(search, score);
  } else if (search->stage == TUNE_BESIDE) {
    candidate_judge(search, score);
  } else if (score) {
    search->tried = *score;
    search->stage = TUNE_BESIDE;
  } else {
    gain_note(search, 1 / TUNE_GAIN_MOST);
    candidate_reject(search, false);
  }
}

bool tune_search_tried(const struct tune_search *search) {
  for (int i = 0; i < search->n_axis; i++)
    for (int v = 0; v < search->axis[i].count; v++)
      if (search->gain[i][v] > 0) return true;
  return false;
}

/* --- the result --------------------------------------------------------------------------------------------------- */

int tune_search_pairs(const struct tune_search *search) {
  return search->stage >= TUNE_PROOF && search->n_measured >= 2 ? search->n_measured / 2 : 0;
}

static int gains_list(const struct tune_search *search, double gain[TUNE_PAIRS_MAX]) {
  int pairs = tune_search_pairs(search);
  for (int i = 0; i < pairs; i++) gain[i] = ratio_of(&search->pair[1][i], &search->pair[0][i]);
  return pairs;
}

double tune_search_gain(const struct tune_search *search) {
  double gain[TUNE_PAIRS_MAX];
  int pairs = gains_list(search, gain);
  return pairs ? median_gain(gain, pairs) : 1;
}

/* Won by more than their noise, and in two thirds of the pairs. Of a proof that was broken off it is enough that it
 * does not contradict the walk. */
static bool proof_won(const struct tune_search *search) {
  double gain[TUNE_PAIRS_MAX];
  int pairs = gains_list(search, gain), won = 0;
  for (int i = 0; i < pairs; i++) won += gain[i] > 1;
  if (pairs < PROOF_PAIRS) return pairs == 0 || median_gain(gain, pairs) > 1;
  return 3 * won >= 2 * pairs && log(median_gain(gain, pairs)) > threshold(search, proven, pairs);
}

struct tune_choice tune_search_result(const struct tune_search *search) {
  return proof_won(search) ? search->best : search->start;
}
