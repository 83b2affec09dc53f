/* The short list of tokens that a draw chooses from, and partial selection over it: the vocabulary is never sorted. */
#ifndef SPATE_BACKEND_CANDIDATES_H
#define SPATE_BACKEND_CANDIDATES_H

#include "backend/row_passes.h"

struct candidate {
  float key;    /* what they are ordered by, greatest first, then lowest token */
  float weight; /* their share of the draw */
  int32_t token;
};

enum candidate_measure { BY_COUNT, BY_WEIGHT };

/* Quickselect: moves to the front the fewest of the first candidates in order whose number or weight reaches the
 * target, at least one; returns how many. All n ≥ 1 when the target is out of reach. */
int candidates_keep(struct candidate *list, int n, double target, enum candidate_measure by);

/* The k greatest of a row (fewer where the rest is −∞), in no order, with logits as their keys; the list has room for
 * the whole row. */
int candidates_top(const struct logit_row *row, int k, struct candidate *list);

double candidates_weight(const struct candidate *list, int n);

#endif
