/* Medians over the measurements of each side. */
#include "cli/tune_report.h"

#include "cli/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SIDES = 2, LINE_MAX_BYTES = 256 };

static double goodput_of(const struct load_tally *tally) { return load_per_second(tally, tally->good); }
static double share_of(const struct load_tally *tally) { return 100.0 * tally->good / fmax(1, tally->sent); }
static double requests_of(const struct load_tally *tally) { return load_per_second(tally, tally->ended[LOAD_OK]); }
static double tokens_of(const struct load_tally *tally) { return load_per_second(tally, (double)tally->output_tokens); }
static double ttft_of(const struct load_tally *tally) { return tally->ttft.quantile[LOAD_P50]; }
static double late_ttft_of(const struct load_tally *tally) { return tally->ttft.quantile[LOAD_P90]; }
static double itl_of(const struct load_tally *tally) { return tally->itl.quantile[LOAD_P50]; }
static double late_itl_of(const struct load_tally *tally) { return tally->itl.quantile[LOAD_P90]; }
static double e2e_of(const struct load_tally *tally) { return tally->e2e.quantile[LOAD_P50]; }

static const struct figure {
  const char *name;
  double (*of)(const struct load_tally *tally);
  bool slo; /* there is none without an SLO */
} figures[] = {
    {"requests/s within the SLO", goodput_of, true},
    {"% within the SLO", share_of, true},
    {"requests/s", requests_of, false},
    {"output tokens/s", tokens_of, false},
    {"ttft p50, ms", ttft_of, false},
    {"ttft p90, ms", late_ttft_of, false},
    {"itl p50, ms", itl_of, false},
    {"itl p90, ms", late_itl_of, false},
    {"e2e p50, ms", e2e_of, false},
};

enum { N_FIGURE = sizeof figures / sizeof *figures };

static int number_order(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* NAN: it was not measured. */
static double median_of(const struct tune *tune, int side, const struct figure *figure) {
  double value[TUNE_PAIRS_MAX];
  int n = tune->n_side[side];
  if (n == 0) return NAN;
  for (int i = 0; i < n; i++) value[i] = figure->of(&tune->side[side][i]);
  qsort(value, (size_t)n, sizeof *value, number_order);
  return n % 2 ? value[n / 2] : (value[n / 2 - 1] + value[n / 2]) / 2;
}

/* --- sentences ---------------------------------------------------------------------------------------------------- */

static void load_describe(const struct tune *tune, char text[LINE_MAX_BYTES]) {
  const struct tune_load *load = &tune->load;
  const char *slo = tune->given->slo ? tune->given->slo : "none, so output tokens/s count";
  if (load->trace)
    snprintf(text, LINE_MAX_BYTES, "requests of a file, SLO %s", slo);
  else if (load->clients)
    snprintf(text, LINE_MAX_BYTES, "workload %s, %d clients, %d requests a run, SLO %s", tune->workload, load->clients,
             load->shape.requests, slo);
  else
    snprintf(text, LINE_MAX_BYTES, "workload %s, %g requests a second, %d a run, SLO %s", tune->workload, load->rate,
             load->shape.requests, slo);
}

/* What is to be said of the gain, and how sure it is. */
static void gain_describe(const struct tune *tune, char text[LINE_MAX_BYTES]) {
  const struct tune_search *search = &tune->search;
  struct tune_choice best = tune_search_result(search);
  int pairs = tune_search_pairs(search);
  double noise = 100 * tune_search_noise(search), gain = tune_search_gain(search);
  if (tune_choice_same(search, &best, &search->start))
    snprintf(text, LINE_MAX_BYTES, "The defaults stay: nothing was better by more than noise, which is %.1f %% here.",
             noise);
  else if (pairs == 0)
    snprintf(text, LINE_MAX_BYTES, "Better each time it was tried; stopped before it was measured in pairs.");
  else if (isinf(gain))
    snprintf(text, LINE_MAX_BYTES, "It keeps the SLO, which the defaults do not (%d pairs).", pairs);
  else
    snprintf(text, LINE_MAX_BYTES, "Gain %.2f x, the median of %d pairs; noise is %.1f %% here.", gain, pairs, noise);
}

/* Nine in ten requests within it. */
static bool slo_missed(const struct tune *tune) {
  struct tune_choice best = tune_search_result(&tune->search);
  int side = !tune_choice_same(&tune->search, &best, &tune->search.start) && tune->n_side[1] > 0;
  return tune->load.has_slo && median_of(tune, side, &figures[1]) < 90;
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

static void cell_print(double value) {
  if (isnan(value))
    printf("%12s", "-");
  else
    printf("%12.2f", value);
}

/* What each value that was tried gave against the best of that time. */
static void tried_print(const struct tune *tune, int axis) {
  const char *comma = "  ";
  for (int v = 0; v < tune->settings.axis[axis].count; v++) {
    double gain = tune->search.gain[axis][v];
    if (gain <= 0) continue;
    if (tune->load.has_slo && gain > 0.99 * TUNE_GAIN_MOST)
      printf("%s%d: within the SLO", comma, tune->settings.value[axis][v]);
    else if (gain < 1.01 / TUNE_GAIN_MOST)
      printf("%s%d: lost", comma, tune->settings.value[axis][v]);
    else
      printf("%s%d: %.2f", comma, tune->settings.value[axis][v], gain);
    comma = ", ";
  }
  printf("\n");
}

static void settings_print(const struct tune *tune, const struct tune_choice *best) {
  const struct tune_settings *settings = &tune->settings;
  printf("%-26s%12s%12s  %s\n", "setting", "default", "best", "tried, against the best before");
  for (int i = 0; i < settings->count; i++) {
    printf("%-26s%12d%12d", tune_setting_name(settings, i), settings->value[i][settings->axis[i].start],
           settings->value[i][best->at[i]]);
    tried_print(tune, i);
  }
}

void tune_report_print(const struct tune *tune) {
  char text[LINE_MAX_BYTES];
  struct tune_choice best = tune_search_result(&tune->search);
  bool kept = tune_choice_same(&tune->search, &best, &tune->search.start);
  load_describe(tune, text);
  printf("%s; %s; %d runs in %.0f s\n\n", tune->device, text, tune->n_run, tune_watch_seconds(&tune->watch));
  settings_print(tune, &best);
  printf("\n%-26s%12s%12s\n", "medians", "default", "best");
  for (int i = 0; i < N_FIGURE; i++) {
    if (figures[i].slo && !tune->load.has_slo) continue;
    printf("%-26s", figures[i].name);
    cell_print(median_of(tune, 0, &figures[i]));
    cell_print(median_of(tune, kept ? 0 : 1, &figures[i]));
    printf("\n");
  }
  gain_describe(tune, text);
  printf("\n%s\n", text);
  if (slo_missed(tune)) printf("None of what was tried keeps the SLO for nine requests in ten: lower the load.\n");
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

/* The user's words may hold what would end a comment. */
static void comment_write(const char *text, struct buffer *out) {
  buffer_text(out, "# ");
  for (; *text; text++) buffer_append(out, (unsigned char)*text < 0x20 ? " " : text, 1);
  buffer_text(out, "\n");
}

bool tune_report_write(const struct tune *tune, struct settings *best, struct buffer *out) {
  char text[LINE_MAX_BYTES], line[3 * LINE_MAX_BYTES], day[16];
  struct tm now;
  time_t seconds = time(NULL);
  strftime(day, sizeof day, "%Y-%m-%d", gmtime_r(&seconds, &now));
  buffer_print(out, "%s %s, %s\n", tune_report_mark, spate_version(), day);
  load_describe(tune, text);
  snprintf(line, sizeof line, "%s; %s", tune->device, text);
  comment_write(line, out);
  gain_describe(tune, text);
  comment_write(text, out);
  return config_write(best, FOR_SERVE, out);
}
