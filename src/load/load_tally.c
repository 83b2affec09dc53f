/* Sums and percentiles. */
#include "load/load_tally.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const load_quantile_name[LOAD_QUANTILES] = {"p50", "p90", "p99", "p99.9"};

bool load_slo_parse(const char *text, struct load_slo *slo) {
  *slo = (struct load_slo){0};
  while (true) {
    double *limit = strncmp(text, "ttft=", 5) == 0  ? &slo->ttft
                    : strncmp(text, "itl=", 4) == 0 ? &slo->itl
                    : strncmp(text, "e2e=", 4) == 0 ? &slo->e2e
                                                    : NULL;
    char *end;
    if (!limit || *limit > 0) return false;
    *limit = strtod(strchr(text, '=') + 1, &end);
    if (!(*limit > 0 && *limit < 1e9)) return false;
    if (*end == '\0') return true;
    if (*end != ',') return false;
    text = end + 1;
  }
}

/* --- spreads ------------------------------------------------------------------------------------------------------ */

struct values {
  double *ms;
  size_t count;
};

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double quantile_of(const struct values *sorted, double part) {
  double at = part * (double)(sorted->count - 1);
  size_t below = (size_t)at, above = below + 1 < sorted->count ? below + 1 : below;
  return sorted->ms[below] + (at - (double)below) * (sorted->ms[above] - sorted->ms[below]);
}

static struct load_spread spread_of(struct values *values) {
  static const double part[LOAD_QUANTILES] = {0.5, 0.9, 0.99, 0.999};
  struct load_spread spread = {.count = (int64_t)values->count, .mean = NAN, .most = NAN};
  double sum = 0;
  for (size_t i = 0; i < values->count; i++) sum += values->ms[i];
  if (values->count) qsort(values->ms, values->count, sizeof *values->ms, compare);
  for (int q = 0; q < LOAD_QUANTILES; q++) spread.quantile[q] = values->count ? quantile_of(values, part[q]) : NAN;
  if (!values->count) return spread;
  spread.mean = sum / (double)values->count;
  spread.most = values->ms[values->count - 1];
  return spread;
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

/* An answer without any text has its first token when it ends. */
static double ttft_of(const struct load_request *request) {
  uint64_t whole = request->done_us - request->sent_us;
  return (double)(request->n_event ? request->event_us[0] : whole) / 1e3;
}

static double e2e_of(const struct load_request *request) { return (double)(request->done_us - request->sent_us) / 1e3; }

static double mean_gap(const struct load_request *request) {
  if (request->n_event < 2 || request->output_tokens < 2) return 0;
  return (double)(request->event_us[request->n_event - 1] - request->event_us[0]) / 1e3 / (request->output_tokens - 1);
}

static bool is_good(const struct load_request *request, const struct load_slo *slo) {
  return (slo->ttft == 0 || ttft_of(request) <= slo->ttft) && (slo->itl == 0 || mean_gap(request) <= slo->itl) &&
         (slo->e2e == 0 || e2e_of(request) <= slo->e2e);
}

static void sums_make(const struct load_plan *plan, const struct load_slo *slo, struct load_tally *tally) {
  for (int i = 0; i < plan->count; i++) {
    const struct load_request *request = &plan->request[i];
    tally->ended[request->end]++;
    tally->sent += request->end != LOAD_NOT_SENT;
    if (request->end != LOAD_OK) continue;
    tally->good += slo && is_good(request, slo);
    tally->output_tokens += request->output_tokens;
    tally->events += request->n_event;
    if (request->prompt_tokens < 0)
      tally->prompt_tokens = -1;
    else if (tally->prompt_tokens >= 0)
      tally->prompt_tokens += request->prompt_tokens;
  }
}

enum latency { TTFT, ITL, E2E, LAG };

static void values_take(struct values *values, const struct load_request *request, enum latency latency) {
  double *next = values->ms + values->count;
  if (latency == ITL) {
    for (int i = 1; i < request->n_event; i++) *next++ = (request->event_us[i] - request->event_us[i - 1]) / 1e3;
    values->count = (size_t)(next - values->ms);
    return;
  }
  uint64_t due_us = load_due_us(request), lag_us = request->sent_us > due_us ? request->sent_us - due_us : 0;
  *next = latency == TTFT ? ttft_of(request) : latency == E2E ? e2e_of(request) : (double)lag_us / 1e3;
  values->count++;
}

static struct load_spread latency_spread(const struct load_plan *plan, struct values *room, enum latency latency) {
  room->count = 0;
  for (int i = 0; i < plan->count; i++) {
    bool counts = latency == LAG ? plan->request[i].end != LOAD_NOT_SENT : plan->request[i].end == LOAD_OK;
    if (counts) values_take(room, &plan->request[i], latency);
  }
  return spread_of(room);
}

bool load_tally_make(const struct load_plan *plan, const struct load_result *result, const struct load_slo *slo,
                     struct load_tally *tally, struct error *error) {
  *tally = (struct load_tally){.seconds = result->seconds, .processor = result->processor};
  sums_make(plan, slo, tally);
  size_t most = (size_t)(tally->events > plan->count ? tally->events : plan->count);
  struct values room = {.ms = calloc(most, sizeof *room.ms)};
  if (!room.ms) return error_set(error, ERROR_MEMORY, "There is no memory for %zu latencies.", most);
  tally->ttft = latency_spread(plan, &room, TTFT);
  tally->itl = latency_spread(plan, &room, ITL);
  tally->e2e = latency_spread(plan, &room, E2E);
  tally->lag = latency_spread(plan, &room, LAG);
  free(room.ms);
  return true;
}
