/* The search of spate tune, a pure state machine: no clock, no engine, no load. It says what to measure next and is
 * told what came of it. Each setting is an axis of values in ascending order; a walk goes along one axis after another,
 * a step at a time, for as long as a step pays. Machines drift, so a candidate is measured between two measurements of
 * the best so far and compared with their mean, twice or, as long as it is in doubt, more often; what it gains has to
 * be more than how the best differs from itself. What is best in the end is measured in pairs with the start, in
 * alternating order, and has to win again. */
#ifndef SPATE_CLI_TUNE_SEARCH_H
#define SPATE_CLI_TUNE_SEARCH_H

#include <stdbool.h>

/* What a comparison counts for at most: when one of the two keeps the SLO and the other does not, or cannot be run. */
#define TUNE_GAIN_MOST 10.0

enum {
  TUNE_AXES = 6,
  TUNE_VALUES = 20,
  TUNE_PAIRS_MAX = 15,
  TUNE_NOISES = 32,
  TUNE_RUNS_LEAST = 13 /* for one candidate and its proof */
};

/* For each axis which of its values. */
struct tune_choice {
  int at[TUNE_AXES];
};

struct tune_axis {
  int count, start; /* the start is what the defaults are */
};

/* What a measurement gave. */
struct tune_score {
  double within; /* part of the requests within the SLO; 1 where there is none */
  double rate;   /* what is to be large */
  double excess; /* how many times its limit the latency took that misses the SLO most */
};

enum tune_stage { TUNE_NOISE, TUNE_BESIDE, TUNE_CANDIDATE, TUNE_PROOF, TUNE_OVER };

struct tune_search {
  int n_axis;
  struct tune_axis axis[TUNE_AXES];
  double budget_s;
  bool (*fits)(const void *user, const struct tune_choice *choice); /* do these settings go together? */
  const void *user;

  enum tune_stage stage;
  struct tune_choice start, best, candidate;
  struct tune_score before, tried; /* of the best, latest; of the candidate, latest */
  int tries;                       /* comparisons of the candidate so far */
  double sum;                      /* of the logarithms of what it gained in them */
  int along, step;                 /* the axis that is walked, up (1) or down (-1) */
  int reach;                       /* steps from the best: what is as good is stepped over once */
  bool turned, moved;              /* on this axis: both directions were begun; a step paid */
  int idle;                        /* axes in a row on which none did */
  double noise[TUNE_NOISES];       /* logarithms of how the best differed from itself */
  int n_noise;
  double cost_s;                             /* that a measurement may take, by those before */
  double gain[TUNE_AXES][TUNE_VALUES];       /* of a candidate over the best at its time; 0: not measured */
  struct tune_score pair[2][TUNE_PAIRS_MAX]; /* of the proof: of the start, of the best */
  int n_measured;                            /* of the proof */
};

void tune_search_begin(struct tune_search *search, const struct tune_axis *axes, int n_axis, double budget_s,
                       bool (*fits)(const void *user, const struct tune_choice *choice), const void *user);

/* What to measure next, when that much of the budget has been spent; false: nothing any more. */
bool tune_search_next(struct tune_search *search, double spent_s, struct tune_choice *choice);

/* What came of it; score NULL: it could not be run. */
void tune_search_tell(struct tune_search *search, const struct tune_score *score, double seconds);

/* The best so far, at any time: the start, unless something has won, and, where the proof was held, won it. */
struct tune_choice tune_search_result(const struct tune_search *search);

bool tune_choice_same(const struct tune_search *search, const struct tune_choice *a, const struct tune_choice *b);

/* Pairs of the proof that were measured, and the median of the gains in them; 1 without any. */
int tune_search_pairs(const struct tune_search *search);
double tune_search_gain(const struct tune_search *search);

/* Has a candidate been compared? For that a budget must have so many seconds, as measurements went. */
bool tune_search_tried(const struct tune_search *search);
double tune_search_least_budget(const struct tune_search *search);

/* Is a score one that keeps the SLO? */
bool tune_holds(const struct tune_score *score);

/* By how much the same settings differ from one measurement to the next: 0.05 is 5 %. */
double tune_search_noise(const struct tune_search *search);

#endif
