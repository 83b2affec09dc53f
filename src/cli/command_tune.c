/* spate tune: finds the settings with which this machine serves a load best, and writes them for spate serve. */
#include "base/buffer.h"
#include "base/clock.h"
#include "base/cpu_share.h"
#include "base/limits.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/result_file.h"
#include "cli/tune_report.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  SLICES = 60,      /* of the budget: a measurement takes about one */
  PILOT_PART = 8,   /* of the budget, that the first measurement may take */
  ROUNDS = 2,       /* requests of each client in a measurement, at least */
  REQUESTS_MIN = 8, /* of an open loop */
  BUDGET_S = 300,
  BUDGET_MOST = 86400,
};
static const char default_output[] = "spate.yaml";
static const double patience = 2.5; /* times what the defaults take: then a candidate has lost */

static const struct workload {
  const char *name, *input, *output;
  int clients;
} workloads[] = {
    {"chat", "128:0.7", "64:0.7", 8},
    {"summarize", "768:0.4", "48:0.5", 4},
    {"batch", "128:0.7", "128:0.7", 32},
};

/* --- options ------------------------------------------------------------------------------------------------------ */

static bool refuse(const char *option, const char *given, const char *expected) {
  char sentence[512];
  snprintf(sentence, sizeof sentence, "--%s is \"%.100s\", expected %s.", option, given, expected);
  return command_fail(sentence) == 0;
}

static bool budget_take(struct tune *tune, const char *given) {
  char *end;
  tune->watch.budget_s = BUDGET_S;
  if (!given) return true;
  double time = strtod(given, &end);
  double unit = *end == 'h' ? 3600 : *end == 'm' ? 60 : 1;
  if (end == given || (*end && (!strchr("smh", *end) || end[1])) || !(time * unit >= 1 && time * unit <= BUDGET_MOST))
    return refuse("budget", given, "a time such as 90s, 5m or 1h, from 1s to 24h");
  tune->watch.budget_s = time * unit;
  return true;
}

static bool workload_take(struct tune *tune, const char *given) {
  struct tune_load *load = &tune->load;
  tune->workload = given ? given : workloads[0].name;
  for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++) {
    const struct workload *known = &workloads[i];
    if (strcmp(tune->workload, known->name) != 0) continue;
    load->clients = known->clients;
    return load_length_parse(known->input, &load->shape.input) && load_length_parse(known->output, &load->shape.output);
  }
  load->trace = given;
  return access(given, R_OK) == 0 || refuse("workload", given, "chat, summarize, batch or a file of requests");
}

static bool pace_take(struct tune *tune, const struct settings *s) {
  struct tune_load *load = &tune->load;
  char *end;
  if (load->trace && (s->clients || s->rate))
    return command_fail("A file of requests has its own times: leave --clients and --rate out.") == 0;
  if (s->clients && s->rate)
    return command_fail("--clients and --rate exclude each other: a loop is closed or open.") == 0;
  double number = s->clients ? strtod(s->clients, &end) : s->rate ? strtod(s->rate, &end) : 0;
  if (s->clients) {
    if (*end || end == s->clients || number != floor(number) || !(number >= 1 && number <= LIMIT_LOAD_CLIENTS))
      return refuse("clients", s->clients, "a whole number from 1 to 65536");
    load->clients = (int)number;
  } else if (s->rate) {
    if (*end || end == s->rate || !(number > 0 && number <= 1e5))
      return refuse("rate", s->rate, "requests a second, more than 0 and at most 100000");
    load->clients = 0;
    load->rate = number;
  }
  return true;
}

/* Somebody's own settings are not written over, and a folder that takes no file is no surprise after the measurements.
 */
static bool output_take(struct tune *tune, const char *given) {
  char line[sizeof tune_report_mark] = "", sentence[512], folder[PATH_MAX];
  struct stat status;
  tune->output = given ? given : default_output;
  snprintf(folder, sizeof folder, "%s", tune->output);
  char *slash = strrchr(folder, '/');
  bool there = stat(tune->output, &status) == 0;
  FILE *file = there && S_ISREG(status.st_mode) ? fopen(tune->output, "re") : NULL;
  size_t size = file ? fread(line, 1, sizeof line - 1, file) : 0;
  bool ours = size == sizeof line - 1 && strcmp(line, tune_report_mark) == 0;
  if (file) fclose(file);
  if (slash) slash[slash == folder] = '\0';
  snprintf(sentence, sizeof sentence, "%.200s is there already, and spate tune did not write it: name another with -o.",
           tune->output);
  if (there && !ours) return command_fail(sentence) == 0;
  snprintf(sentence, sizeof sentence, "%.400s cannot be written.", tune->output);
  return access(there ? tune->output : slash ? folder : ".", W_OK) == 0 || command_fail(sentence) == 0;
}

static bool tune_take(struct tune *tune, const struct settings *s) {
  *tune = (struct tune){.given = s, .load.shape.seed = s->seed};
  if (!budget_take(tune, s->budget) || !workload_take(tune, s->workload) || !pace_take(tune, s)) return false;
  tune->load.has_slo = s->slo != NULL;
  if (s->slo && !load_slo_parse(s->slo, &tune->load.slo))
    return refuse("slo", s->slo, "milliseconds such as ttft=400,itl=30,e2e=5000, any of the three");
  return output_take(tune, s->output);
}

/* --- measurements ------------------------------------------------------------------------------------------------- */

/* Builds the engine if need be, and looks at what it is. */
static bool engine_look(struct tune *tune, struct error *error) {
  spate_error problem;
  spate_engine_info info = {.size = sizeof info};
  spate_engine *engine = settings_open(tune->given, &tune->watch.progress, &problem);
  if (!engine) return error_set(error, ERROR_IO, "%s", problem.text);
  spate_info(engine, &info);
  snprintf(tune->device, sizeof tune->device, "%s", info.device);
  tune_settings_make(&tune->settings, tune->given, &info, cpu_share_count(), tune->load.slo.itl);
  spate_close(engine);
  if (tune_settings_choices(&tune->settings) > 0) return true;
  return error_set(error, ERROR_INVALID, "Every setting that would be tried is given already%s: leave one out.",
                   tune->settings.count ? ", or has a single value here" : "");
}

/* One answer of each client tells how many requests a measurement may have. */
static bool load_size(struct tune *tune, struct error *error) {
  struct tune_load *load = &tune->load;
  double slice = tune->watch.budget_s / SLICES, rate = load->rate;
  if (load->trace) return true;
  if (load->clients) {
    struct tune_trial pilot;
    load->shape.requests = load->clients;
    tune->watch.limit_s = tune->watch.budget_s / PILOT_PART;
    if (!tune_trial_run(load, tune->given, &tune->watch, &pilot, error)) return false;
    rate = load_per_second(&pilot.tally, pilot.tally.ended[LOAD_OK]);
    tune->watch.limit_s = 0;
  }
  int least = load->clients ? ROUNDS * load->clients : REQUESTS_MIN;
  load->shape.requests = (int)fmin(fmax(least, round(rate * slice)), LIMIT_LOAD_REQUESTS);
  return true;
}

/* The latest of each side; those before the proof are the start's. */
static void trial_keep(struct tune *tune, const struct tune_trial *trial, enum tune_stage stage, int measured) {
  if (stage == TUNE_NOISE) tune->side[0][tune->n_side[0]++] = trial->tally;
  if (stage != TUNE_PROOF) return;
  if (measured == 0) tune->n_side[0] = tune->n_side[1] = 0;
  int side = (measured + 1) / 2 % 2;
  tune->side[side][tune->n_side[side]++] = trial->tally;
}

static void choice_name(const struct tune *tune, const struct tune_choice *choice, char *text, size_t size) {
  const struct tune_settings *settings = &tune->settings;
  snprintf(text, size, "  the defaults");
  for (int i = 0, at = 0; i < settings->count && (size_t)at < size; i++)
    if (choice->at[i] != settings->axis[i].start)
      at += snprintf(text + at, size - (size_t)at, "  %s %d", tune_setting_name(settings, i),
                     settings->value[i][choice->at[i]]);
}

/* A candidate that cannot be served has lost. False: the defaults cannot, with a sentence; or it is over. */
static bool choice_measure(struct tune *tune, const struct tune_choice *choice, struct error *error) {
  struct tune_search *search = &tune->search;
  enum tune_stage stage = search->stage;
  int measured = search->n_measured;
  struct settings settings = *tune->given;
  double before = tune_watch_seconds(&tune->watch);
  bool is_start = tune_choice_same(search, choice, &search->start);
  tune_settings_apply(&tune->settings, choice, &settings);
  choice_name(tune, choice, tune->watch.progress.note, sizeof tune->watch.progress.note);
  struct tune_trial trial;
  bool ran = tune_trial_run(&tune->load, &settings, &tune->watch, &trial, error);
  if (tune_watch_over(&tune->watch) || (!ran && is_start)) return false;
  if (ran && is_start && patience * trial.load_s > tune->watch.limit_s) tune->watch.limit_s = patience * trial.load_s;
  if (ran) trial_keep(tune, &trial, stage, measured);
  tune->n_run++;
  tune_search_tell(search, ran ? &trial.score : NULL, tune_watch_seconds(&tune->watch) - before);
  return true;
}

static bool search_run(struct tune *tune, struct error *error) {
  struct tune_choice choice;
  const struct tune_settings *settings = &tune->settings;
  tune->watch.begin_us = clock_us();
  if (!load_size(tune, error)) return false;
  tune_search_begin(&tune->search, settings->axis, settings->count, tune->watch.budget_s, tune_settings_fit, settings);
  while (tune_search_next(&tune->search, tune_watch_seconds(&tune->watch), &choice))
    if (!choice_measure(tune, &choice, error)) return tune_watch_over(&tune->watch);
  return true;
}

/* --- what is left ------------------------------------------------------------------------------------------------- */

/* A file of settings names its model wherever it is read. */
static int settings_write(struct tune *tune) {
  char model[PATH_MAX];
  struct settings best = *tune->given;
  struct buffer out;
  struct tune_choice choice = tune_search_result(&tune->search);
  tune_settings_apply(&tune->settings, &choice, &best);
  if (realpath(best.operand, model)) best.operand = model;
  buffer_init(&out, 4 * LIMIT_SETTINGS_BYTES);
  bool whole = tune_report_write(tune, &best, &out);
  spate_text text = {out.data, out.size};
  int code = whole ? result_write(tune->output, &text) : command_fail("There is no memory for the settings.");
  buffer_release(&out);
  if (code == 0) printf("\n%s has these settings: spate serve --config %s\n", tune->output, tune->output);
  return code;
}

static bool refuse_short(const struct tune *tune) {
  char sentence[512];
  if (progress_interrupted()) return command_fail("Interrupted, before anything was tried: nothing was written.") == 0;
  if (tune->n_run == 0)
    return command_fail("Not one measurement came to its end: give a longer --budget, or a lighter load.") == 0;
  snprintf(sentence, sizeof sentence,
           "The budget of %g s is too short for a comparison: one measurement takes %.1f s, and %d are needed; give "
           "--budget %.0fs at least, or a lighter load.",
           tune->watch.budget_s, tune->search.cost_s, TUNE_RUNS_LEAST, tune_search_least_budget(&tune->search));
  return command_fail(sentence) == 0;
}

int command_tune(const struct settings *settings) {
  struct tune *tune = malloc(sizeof *tune);
  struct error error;
  if (!tune) return command_fail("Out of memory.");
  log_level_set(LOG_ERROR); /* servers come and go */
  bool done = tune_take(tune, settings);
  if (done) {
    progress_begin(&tune->watch.progress);
    done = engine_look(tune, &error) && search_run(tune, &error);
    tune->watch.progress.note[0] = '\0';
    progress_show(&tune->watch.progress, "tune", 1, 1); /* ends its line */
    progress_end(&tune->watch.progress);
    if (!done) command_fail(progress_interrupted() ? "Interrupted." : error.text);
  }
  done = done && (tune_search_tried(&tune->search) || refuse_short(tune));
  if (done) tune_report_print(tune);
  int code = done ? settings_write(tune) : 1;
  free(tune);
  return code;
}
