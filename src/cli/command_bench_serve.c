/* spate bench-serve: loads on a server, one after another, and what came of them. */
#include "base/buffer.h"
#include "base/limits.h"
#include "cli/command.h"
#include "cli/load_table.h"
#include "cli/progress.h"
#include "cli/result_file.h"
#include "load/load_plot.h"
#include "load/load_report.h"

#include <stdlib.h>
#include <string.h>

enum {
  POINTS_MAX = 32,
  REQUESTS = 100,
  CLIENTS = 8,
  TIMEOUT_SECONDS = 600,
  LINE_BYTES = 64 << 20,
  REPORT_BYTES = 1 << 20
};
static const char default_url[] = "http://127.0.0.1:8000";

/* ShareGPT's conversations have 161 and 338 tokens on average, as the paper on vLLM counts them. */
static const char default_input[] = "161:1", default_output[] = "338:1";

struct bench {
  const struct settings *settings;
  struct load_target target;
  struct load_shape shape;
  struct load_slo slo;
  bool closed; /* points are numbers of clients; otherwise rates */
  double point[POINTS_MAX];
  int n_point;

  struct progress progress;
  char stage[32];
  FILE *record;         /* NULL: not wanted */
  struct buffer report; /* of the runs so far, with commas */
  struct load_tally tally[POINTS_MAX];
  int n_done, completed;
};

/* --- options ------------------------------------------------------------------------------------------------------ */

static bool refuse(const char *sentence) {
  command_fail(sentence);
  return false;
}

static bool refuse_value(const char *option, const char *given, const char *expected) {
  char sentence[512];
  snprintf(sentence, sizeof sentence, "--%s is \"%.100s\", expected %s.", option, given, expected);
  return refuse(sentence);
}

/* "1,2.5,4": how many there are, 0 when that is no such list. */
static int points_parse(const char *text, bool whole, double most, double point[POINTS_MAX]) {
  for (int n = 0; n < POINTS_MAX; n++) {
    char *end;
    point[n] = strtod(text, &end);
    bool sound = end != text && point[n] > 0 && point[n] <= most && (!whole || point[n] == (int)point[n]);
    if (!sound || (*end && *end != ',')) return 0;
    if (*end == '\0') return n + 1;
    text = end + 1;
  }
  return 0;
}

static int number_order(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static bool points_take(struct bench *bench, const struct settings *s) {
  if (s->clients && s->rate) return refuse("--clients and --rate exclude each other: a loop is closed or open.");
  bench->closed = !s->rate;
  if (s->trace) {
    bench->closed = false;
    bench->n_point = 1;
    return !(s->clients || s->rate) || refuse("--trace has its own times: leave --clients and --rate out.");
  }
  if (s->rate) {
    bench->n_point = points_parse(s->rate, false, 1e5, bench->point);
    return bench->n_point || refuse_value("rate", s->rate, "requests a second, up to 32 numbers with commas");
  }
  bench->n_point = 1;
  bench->point[0] = CLIENTS;
  if (s->clients) bench->n_point = points_parse(s->clients, true, LIMIT_LOAD_CLIENTS, bench->point);
  return bench->n_point || refuse_value("clients", s->clients, "whole numbers from 1 to 65536, up to 32 with commas");
}

static bool lengths_take(struct load_shape *shape, const struct settings *s) {
  static const char expected[] = "tokens, or MEAN:SPREAD of a log-normal distribution, such as 161:1";
  const char *input = s->input_tokens ? s->input_tokens : default_input;
  const char *output = s->output_tokens ? s->output_tokens : default_output;
  if (!load_length_parse(input, &shape->input)) return refuse_value("input-tokens", input, expected);
  return load_length_parse(output, &shape->output) || refuse_value("output-tokens", output, expected);
}

static bool shape_take(struct load_shape *shape, const struct settings *s) {
  char given[16];
  shape->seed = s->seed;
  shape->requests = s->has_requests ? s->requests : REQUESTS;
  shape->even = s->arrivals && strcmp(s->arrivals, "even") == 0;
  snprintf(given, sizeof given, "%d", shape->requests);
  if (s->arrivals && !shape->even && strcmp(s->arrivals, "poisson") != 0)
    return refuse_value("arrivals", s->arrivals, "poisson or even");
  if (shape->requests < 1 || shape->requests > LIMIT_LOAD_REQUESTS)
    return refuse_value("requests", given, "a whole number from 1 to 1048576");
  return lengths_take(shape, s);
}

static bool target_take(struct load_target *target, const struct settings *s) {
  char given[32];
  *target = (struct load_target){.url = s->operand ? s->operand : default_url,
                                 .model = s->served_model,
                                 .api_key = s->api_key ? s->api_key : getenv("SPATE_API_KEY"),
                                 .allow_eos = s->allow_eos,
                                 .seed = s->seed,
                                 .timeout_s = s->has_timeout ? s->timeout : TIMEOUT_SECONDS,
                                 .word_tokens = 1};
  snprintf(given, sizeof given, "%g", target->timeout_s);
  if (s->api && !load_api_parse(s->api, &target->api))
    return refuse_value("api", s->api, "generate, completions or chat");
  return (target->timeout_s > 0 && target->timeout_s <= LIMIT_LOAD_SECONDS) ||
         refuse_value("timeout", given, "seconds above 0, at most 3600");
}

static bool bench_take(struct bench *bench, const struct settings *s) {
  *bench = (struct bench){.settings = s};
  if (!points_take(bench, s) || !shape_take(&bench->shape, s) || !target_take(&bench->target, s)) return false;
  if (s->plot && s->trace) return refuse("--plot draws over --clients or --rate: --trace has neither.");
  qsort(bench->point, (size_t)bench->n_point, sizeof *bench->point, number_order);
  return !s->slo || load_slo_parse(s->slo, &bench->slo) ||
         refuse_value("slo", s->slo, "milliseconds such as ttft=400,itl=30,e2e=5000, any of the three");
}

/* --- what is shown ------------------------------------------------------------------------------------------------ */

static bool on_progress(void *user, const struct load_progress *now) {
  struct bench *bench = user;
  snprintf(bench->progress.note, sizeof bench->progress.note, "  %d running, %d failed, %.0f tokens/s", now->running,
           now->failed, now->seconds > 0 ? (double)now->tokens / now->seconds : 0);
  return progress_show(&bench->progress, bench->stage, (uint64_t)now->done, (uint64_t)now->total);
}

/* --- runs --------------------------------------------------------------------------------------------------------- */

static bool record_write(const struct bench *bench, int run, const struct load_plan *plan) {
  struct buffer line;
  bool done = true;
  buffer_init(&line, LINE_BYTES);
  for (int i = 0; bench->record && done && i < plan->count; i++) {
    buffer_clear(&line);
    done = load_record_write(run, plan, i, &line) && fwrite(line.data, 1, line.size, bench->record) == line.size;
  }
  buffer_release(&line);
  return done;
}

static bool plan_make(const struct bench *bench, int run, struct load_plan *plan, struct error *error) {
  const char *trace = bench->settings->trace;
  double point = bench->point[run];
  if (trace) return load_plan_read(plan, trace, error);
  return load_plan_draw(plan, &bench->shape, bench->closed ? (int)point : 0, point, error);
}

static void stage_name(struct bench *bench, int run) {
  if (bench->settings->trace)
    snprintf(bench->stage, sizeof bench->stage, "trace");
  else
    snprintf(bench->stage, sizeof bench->stage, bench->closed ? "%g clients" : "%g requests/s", bench->point[run]);
}

static bool run_tell(struct bench *bench, int run, const struct load_plan *plan, const struct load_result *result,
                     struct error *error) {
  const struct load_slo *slo = bench->settings->slo ? &bench->slo : NULL;
  struct load_tally *tally = &bench->tally[run];
  if (!load_tally_make(plan, result, slo, tally, error)) return false;
  bench->n_done++;
  bench->completed += tally->ended[LOAD_OK];
  if (run > 0) buffer_text(&bench->report, ",");
  load_report_write(plan, tally, result, slo, &bench->report);
  if (!bench->settings->json) load_table_print(bench->stage, bench->settings->slo, !bench->closed, tally, result);
  return record_write(bench, run, plan) || error_set(error, ERROR_IO, "%s cannot be written.", bench->settings->record);
}

/* Once, if prompts are to have as many tokens as was asked. What is wrong with a server the run will tell. */
static bool words_measure(struct bench *bench, const struct load_plan *plan, struct error *error) {
  char why[ERROR_TEXT_MAX];
  if (bench->n_done > 0 || !load_plan_makes_prompts(plan)) return true;
  snprintf(bench->stage, sizeof bench->stage, "words");
  if (!load_measure_words(&bench->target, why, error)) return false;
  if (progress_interrupted()) return error_set(error, ERROR_CANCELLED, "Interrupted.");
  if (why[0]) sentence_print(stderr, "spate: a word is taken for a token", why);
  return true;
}

static bool run_one(struct bench *bench, int run, struct error *error) {
  struct load_plan plan;
  struct load_result *result = malloc(sizeof *result);
  bool done = plan_make(bench, run, &plan, error);
  done = done && words_measure(bench, &plan, error);
  stage_name(bench, run);
  bench->target.run = run + 1;
  if (!result) done = error_set(error, ERROR_MEMORY, "There is no memory for a result.");
  done = done && load_run(&bench->target, &plan, result, error);
  done = done && run_tell(bench, run, &plan, result, error);
  load_plan_release(&plan);
  free(result);
  return done;
}

static bool runs(struct bench *bench, struct error *error) {
  bench->target.progress = on_progress;
  bench->target.user = bench;
  for (int run = 0; run < bench->n_point; run++) {
    if (!run_one(bench, run, error)) return false;
    if (progress_interrupted()) return true;
  }
  return true;
}

static void json_print(const struct bench *bench) {
  printf("{\"api\":\"%s\",\"seed\":%llu,\"runs\":[%.*s]}\n", bench->settings->api ? bench->settings->api : "generate",
         (unsigned long long)bench->shape.seed, (int)bench->report.size, bench->report.data);
}

static int plot_write(const struct bench *bench) {
  struct buffer svg;
  buffer_init(&svg, REPORT_BYTES);
  load_plot_draw(bench->point, bench->tally, bench->n_done, bench->closed ? "clients" : "requests a second asked for",
                 bench->settings->slo != NULL, &svg);
  spate_text text = {svg.data, svg.size};
  int code = svg.failed ? command_fail("There is no memory for a plot.") : result_write(bench->settings->plot, &text);
  buffer_release(&svg);
  return code;
}

int command_bench_serve(const struct settings *settings) {
  struct bench bench;
  struct error error;
  if (!bench_take(&bench, settings)) return 1;
  if (settings->record && !(bench.record = fopen(settings->record, "wb"))) {
    error_set(&error, ERROR_IO, "%.400s cannot be written.", settings->record);
    return command_fail(error.text);
  }
  buffer_init(&bench.report, REPORT_BYTES);
  progress_begin(&bench.progress);
  bool done = runs(&bench, &error);
  progress_end(&bench.progress);
  if (bench.record && fclose(bench.record) != 0 && done)
    done = error_set(&error, ERROR_IO, "%.400s cannot be written.", settings->record);
  if (done && settings->json) json_print(&bench);
  buffer_release(&bench.report);
  if (!done) return command_fail(error.text);
  if (settings->plot && plot_write(&bench) != 0) return 1;
  return bench.completed ? 0 : command_fail("No request was answered.");
}
