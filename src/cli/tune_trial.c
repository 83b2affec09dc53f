/* Server and load in one process: what the load takes of the processors, it takes from every candidate. */
#include "cli/tune_trial.h"

#include "base/clock.h"
#include "base/limits.h"
#include "cli/command.h"
#include "server/server.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum { KEY_BYTES = 16, KEEP_ALIVE = 60, TIMEOUT_SECONDS = 600 };

struct served {
  struct server *server;
  spate_build_options build;
  spate_open_options again;
  char url[64], key[2 * KEY_BYTES + 1];
};

double tune_watch_seconds(const struct tune_watch *watch) { return (double)(clock_us() - watch->begin_us) * 1e-6; }

bool tune_watch_over(const struct tune_watch *watch) {
  return progress_interrupted() || tune_watch_seconds(watch) >= watch->budget_s;
}

/* --- the server --------------------------------------------------------------------------------------------------- */

/* Nobody else on this machine is to disturb the measurement. */
static bool key_draw(char key[2 * KEY_BYTES + 1]) {
  uint8_t bytes[KEY_BYTES];
  if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) return false;
  for (int i = 0; i < KEY_BYTES; i++) snprintf(key + 2 * i, 3, "%02x", bytes[i]);
  return true;
}

/* The bar goes on with the load. */
static bool served_open(struct served *served, const struct settings *settings, struct error *error) {
  spate_error problem = {.text = "The system gives no random numbers."};
  struct server_options options = {.host = "127.0.0.1",
                                   .workers = settings->workers,
                                   .keep_alive = KEEP_ALIVE,
                                   .limit_concurrency = LIMIT_LOAD_CLIENTS,
                                   .api_keys = served->key};
  struct progress unseen = {.quiet_until_us = UINT64_MAX};
  *served = (struct served){0};
  bool open = key_draw(served->key);
  open_options_fill(settings, &served->build, &served->again);
  spate_engine *engine = open ? settings_open(settings, &unseen, &problem) : NULL;
  open = engine && (served->server = server_open(engine, &served->again, &options, &problem)) != NULL;
  if (open) {
    snprintf(served->url, sizeof served->url, "http://127.0.0.1:%d", server_port(served->server));
    return true;
  }
  return error_set(error, ERROR_IO, "%s", problem.text);
}

/* --- the load ----------------------------------------------------------------------------------------------------- */

/* The bar is of the budget, wherever in it this load stands. */
static bool on_progress(void *user, const struct load_progress *now) {
  struct tune_watch *watch = user;
  double spent = tune_watch_seconds(watch);
  uint64_t total = (uint64_t)watch->budget_s, done = spent < watch->budget_s ? (uint64_t)spent : total;
  bool wanted = progress_show(&watch->progress, "tune", done, total + 1);
  watch->cut = !wanted || spent >= watch->budget_s || (watch->limit_s > 0 && now->seconds > watch->limit_s);
  return !watch->cut;
}

static bool plan_make(const struct tune_load *load, struct load_plan *plan, struct error *error) {
  if (load->trace) return load_plan_read(plan, load->trace, error);
  return load_plan_draw(plan, &load->shape, load->clients, load->rate, error);
}

/* The most that a limit was exceeded by what one in ten took longer than. */
static double excess_of(const struct load_tally *tally, const struct load_slo *slo) {
  double ttft = slo->ttft > 0 ? tally->ttft.quantile[LOAD_P90] / slo->ttft : 0;
  double itl = slo->itl > 0 ? tally->itl.quantile[LOAD_P90] / slo->itl : 0;
  double e2e = slo->e2e > 0 ? tally->e2e.quantile[LOAD_P90] / slo->e2e : 0;
  return fmax(fmax(ttft, itl), e2e); /* fmax passes over NAN: no answer had two tokens */
}

static void score_make(const struct tune_load *load, const struct load_plan *plan, struct tune_trial *trial) {
  const struct load_tally *tally = &trial->tally;
  int kept = load->has_slo ? tally->good : tally->ended[LOAD_OK];
  double count = load->has_slo ? kept : (double)tally->output_tokens;
  trial->score = (struct tune_score){.within = (double)kept / plan->count,
                                     .rate = load_per_second(tally, count),
                                     .excess = excess_of(tally, &load->slo)};
}

static bool refuse_unanswered(const struct tune_trial *trial, const struct load_result *result, struct error *error) {
  for (int end = LOAD_CONNECT; end < LOAD_END_COUNT; end++)
    if (result->first[end][0]) return error_set(error, ERROR_IO, "No request was answered: %.400s", result->first[end]);
  return error_set(error, ERROR_TIMEOUT,
                   "No request was answered in %.1f s: give a longer --budget, or a lighter load.", trial->load_s);
}

static bool load_put(struct tune_load *load, const struct load_target *target, struct load_plan *plan,
                     struct tune_trial *trial, struct error *error) {
  struct load_result *result = malloc(sizeof *result);
  bool done = result || error_set(error, ERROR_MEMORY, "There is no memory for a result.");
  done = done && load_run(target, plan, result, error) &&
         load_tally_make(plan, result, load->has_slo ? &load->slo : NULL, &trial->tally, error);
  if (done) {
    trial->load_s = result->seconds;
    score_make(load, plan, trial);
    done = trial->tally.ended[LOAD_OK] > 0 || refuse_unanswered(trial, result, error);
  }
  free(result);
  return done;
}

/* Two requests tell how many tokens a word has; where the server does not count, a word is taken for one, as in all
 * trials. What broke them off breaks the trial off: its load would be another one. */
static bool engine_warm(struct load_target *target, struct tune_watch *watch, struct error *error) {
  char why[ERROR_TEXT_MAX];
  double limit_s = watch->limit_s;
  watch->cut = false;
  watch->limit_s = 0; /* which is the load's alone */
  bool done = load_measure_words(target, why, error);
  watch->limit_s = limit_s;
  if (!done) return false;
  return !watch->cut ||
         error_set(error, ERROR_TIMEOUT, "The budget was over before the load began: give a longer --budget.");
}

bool tune_trial_run(struct tune_load *load, const struct settings *settings, struct tune_watch *watch,
                    struct tune_trial *trial, struct error *error) {
  struct served served;
  struct load_plan plan;
  *trial = (struct tune_trial){0};
  if (!plan_make(load, &plan, error)) return false;
  bool done = served_open(&served, settings, error);
  if (done) {
    struct load_target target = {.url = served.url,
                                 .api_key = served.key,
                                 .seed = load->shape.seed,
                                 .run = ++load->runs,
                                 .timeout_s = TIMEOUT_SECONDS,
                                 .word_tokens = 1,
                                 .progress = on_progress,
                                 .user = watch};
    done = engine_warm(&target, watch, error) && load_put(load, &target, &plan, trial, error);
    server_close(served.server);
  }
  load_plan_release(&plan);
  return done;
}
