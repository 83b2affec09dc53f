/* Selection among candidates. */
#include "backend/candidates.h"

#include <math.h>

static bool candidate_before(struct candidate a, struct candidate b) {
  return a.key > b.key || (a.key == b.key && a.token < b.token);
}

static void candidate_swap(struct candidate *a, struct candidate *b) {
  struct candidate kept = *a;
  *a = *b, *b = kept;
}

/* Moves what goes before list[middle] to the front of [first, end) and it behind them; returns its place. */
static int partition(struct candidate *list, int first, int end) {
  candidate_swap(list + first + (end - first) / 2, list + end - 1);
  int place = first;
  for (int i = first; i < end - 1; i++)
    if (candidate_before(list[i], list[end - 1])) candidate_swap(list + i, list + place++);
  candidate_swap(list + place, list + end - 1);
  return place;
}

double candidates_weight(const struct candidate *list, int n) {
  double weight = 0;
  for (int i = 0; i < n; i++) weight += list[i].weight;
  return weight;
}

static double measure(const struct candidate *list, int first, int end, enum candidate_measure by) {
  return by == BY_COUNT ? end - first : candidates_weight(list + first, end - first);
}

int candidates_keep(struct candidate *list, int n, double target, enum candidate_measure by) {
  int first = 0, end = n; /* the last one kept is within */
  double reached = 0;     /* by those before `first` */
  while (end - first > 1) {
    int place = partition(list, first, end);
    double before = reached + measure(list, first, place, by);
    double with = before + measure(list, place, place + 1, by);
    if (place > first && before >= target) {
      end = place;
    } else if (with >= target || place + 1 == end) {
      return place + 1;
    } else {
      first = place + 1;
      reached = with;
    }
  }
  return end;
}

/* No more than k groups hold the k greatest: what is below the k-th greatest maximum of a group is not among them. */
static float top_floor(const struct logit_row *row, int k, struct candidate *list) {
  int n_group = row_groups(row->n);
  if (k > n_group) return -INFINITY;
  for (int g = 0; g < n_group; g++) list[g] = (struct candidate){.key = row->group_max[g], .token = g};
  candidates_keep(list, n_group, k, BY_COUNT);
  float floor = INFINITY;
  for (int i = 0; i < k; i++) floor = list[i].key < floor ? list[i].key : floor;
  return floor;
}

int candidates_top(const struct logit_row *row, int k, struct candidate *list) {
  float floor = top_floor(row, k, list);
  int count = 0;
  for (int g = 0; g < row_groups(row->n); g++) {
    if (row->group_max[g] < floor) continue;
    for (int i = g * ROW_GROUP; i < group_end(row->n, g); i++)
      if (row->x[i] >= floor && row->x[i] > -INFINITY) list[count++] = (struct candidate){.key = row->x[i], .token = i};
  }
  return count > k ? candidates_keep(list, count, k, BY_COUNT) : count;
}
