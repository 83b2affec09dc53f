/* Greedy: n × choices steps at most, each a look at all choices. */
#include "build/bit_budget.h"

#include <math.h>

static int smallest_of(const struct budget_weight *w) {
  int best = 0;
  for (int i = 1; i < w->n; i++)
    if (w->bits[i] < w->bits[best] || (w->bits[i] == w->bits[best] && w->loss[i] < w->loss[best])) best = i;
  return best;
}

/* Loss saved for each bit; 0 for what is no step ahead within `room`. A step that costs nothing is the best of all. */
static double step_worth(const struct budget_weight *w, int choice, double room) {
  double bits = w->bits[choice] - w->bits[w->chosen], saved = w->loss[w->chosen] - w->loss[choice];
  if (!(saved > 0) || bits > room) return 0;
  return bits > 0 ? saved / bits : INFINITY;
}

/* Takes the best step; false: none is left. */
static bool step_take(struct budget_weight *weights, int n_weight, double *room) {
  double most = 0;
  int weight = -1, choice = 0;
  for (int i = 0; i < n_weight; i++)
    for (int c = 0; c < weights[i].n; c++) {
      double worth = step_worth(&weights[i], c, *room);
      if (worth <= most) continue;
      most = worth;
      weight = i;
      choice = c;
    }
  if (weight < 0) return false;
  *room -= weights[weight].bits[choice] - weights[weight].bits[weights[weight].chosen];
  weights[weight].chosen = choice;
  return true;
}

double bit_budget_spend(struct budget_weight *weights, int n_weight, double limit) {
  double room = limit, bits = 0;
  for (int i = 0; i < n_weight; i++) {
    weights[i].chosen = smallest_of(&weights[i]);
    room -= weights[i].bits[weights[i].chosen];
  }
  while (step_take(weights, n_weight, &room)) {
  }
  for (int i = 0; i < n_weight; i++) bits += weights[i].bits[weights[i].chosen];
  return bits;
}
