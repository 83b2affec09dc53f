/* spate.h: benches and logits, through direct steps while the runtime is parked. */
#include "base/clock.h"
#include "base/json.h"
#include "lib/bench_floor.h"
#include "lib/bench_report.h"
#include "lib/bench_speed.h"
#include "lib/direct_steps.h"
#include "lib/public_options.h"
#include "lib/spate_state.h"

#include <limits.h>
#include <stdlib.h>

enum { BENCH_REPEAT_MAX = 100 };

struct bench {
  const struct loaded_engine *engine;
  const spate_bench_options *options;
  struct direct_steps steps;
  int32_t *tokens;                                            /* [batch × prompt_tokens] */
  double prefill[BENCH_REPEAT_MAX], decode[BENCH_REPEAT_MAX]; /* seconds of each run */
};

/* Ids spread over the vocabulary: what they say does not matter, that they differ does. */
static void tokens_fill(struct bench *bench) {
  uint32_t state = 1, vocab = (uint32_t)bench->engine->plan->vocab;
  size_t count = (size_t)bench->options->batch * (size_t)bench->options->prompt_tokens;
  for (size_t i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    bench->tokens[i] = (int32_t)((state >> 8) % vocab);
  }
}

/* The prompts of all sequences, in steps as large as the engine allows. */
static bool prefill_run(struct bench *bench, struct result *result, struct error *error) {
  const spate_bench_options *o = bench->options;
  const struct limits *limits = &bench->engine->limits;
  bool few = o->all_outputs && limits->outputs < limits->tokens;
  int most = (few ? limits->outputs : limits->tokens) / o->batch, rest = o->prompt_tokens;
  for (int n; rest > 0; rest -= n) {
    n = rest < most ? rest : most;
    enum direct_outputs outputs = o->all_outputs ? OUTPUT_ALL : n == rest ? OUTPUT_LAST : OUTPUT_NONE;
    if (!direct_step(&bench->steps, bench->tokens, n, outputs, false, result, error)) return false;
  }
  return true;
}

static bool decode_run(struct bench *bench, struct result *result, struct error *error) {
  int32_t *token = bench->tokens; /* the prompt is done with */
  for (int i = 0; i < bench->options->decode_tokens; i++) {
    for (int k = 0; k < bench->options->batch && k < result->n_out; k++) token[k] = result->token[k];
    if (!direct_step(&bench->steps, token, 1, OUTPUT_LAST, false, result, error)) return false;
  }
  return true;
}

static bool bench_once(struct bench *bench, int run, struct error *error) {
  struct result result;
  tokens_fill(bench);
  direct_rewind(&bench->steps, 0);
  uint64_t start = clock_ns();
  if (!prefill_run(bench, &result, error)) return false;
  uint64_t middle = clock_ns();
  if (!decode_run(bench, &result, error)) return false;
  bench->prefill[run] = (double)(middle - start) * 1e-9;
  bench->decode[run] = (double)(clock_ns() - middle) * 1e-9;
  return true;
}

/* --- the report --------------------------------------------------------------------------------------------------- */

static void phase_write(struct buffer *out, const char *name, double seconds, double tokens, double floor) {
  buffer_print(out, "\"%s\":{", name);
  number_write(out, "seconds", seconds);
  number_write(out, "floor_seconds", floor);
  number_write(out, "fraction_of_floor", seconds > 0 ? floor / seconds : 0);
  buffer_print(out, "\"tokens_per_second\":%.6g}", seconds > 0 ? tokens / seconds : 0);
}

/* `"model":…,"device":…,` and the options, each followed by a comma. */
static void setting_write(const struct bench *bench, struct buffer *out) {
  const spate_bench_options *o = bench->options;
  buffer_text(out, "\"model\":");
  json_write_string(out, slice_text(bench->engine->file.facts->name));
  buffer_text(out, ",\"device\":");
  json_write_string(out, slice_text(bench->engine->backend->describe(bench->engine->device)));
  buffer_print(out, ",\"batch\":%d,\"prompt_tokens\":%d,\"decode_tokens\":%d,\"repeat\":%d,\"all_outputs\":%s,",
               o->batch, o->prompt_tokens, o->decode_tokens, o->repeat, o->all_outputs ? "true" : "false");
}

static void bench_write(struct bench *bench, const struct machine_rates *rates, struct buffer *out) {
  const spate_bench_options *o = bench->options;
  double batch = o->batch, prompt = o->prompt_tokens, generated = o->decode_tokens;
  double prefill = bench_median(bench->prefill, o->repeat), decode = bench_median(bench->decode, o->repeat);
  double outputs = o->all_outputs ? batch * prompt : batch, context = prompt + generated / 2;
  struct step_shape step = {.sequences = batch, .tokens = batch, .outputs = batch, .context = context};
  struct step_shape whole = {.sequences = batch, .tokens = batch * prompt, .outputs = outputs};
  double bytes = step_bytes(bench->engine, &step);
  buffer_text(out, "{");
  setting_write(bench, out);
  number_write(out, "step_bytes", bytes);
  number_write(out, "decode_gbs", decode > 0 ? bytes * generated / decode * 1e-9 : 0);
  number_write(out, "bandwidth_gbs", rates_bandwidth(rates, bytes));
  phase_write(out, "prefill", prefill, batch * prompt, step_floor(bench->engine, rates, &whole));
  buffer_text(out, ",");
  phase_write(out, "decode", decode, batch * generated, step_floor(bench->engine, rates, &step) * generated);
  buffer_text(out, ",");
  fallbacks_write(out, bench->engine);
  buffer_text(out, ",\"machine\":");
  rates_write(out, rates);
  buffer_text(out, "}");
}

static bool bench_options_check(const spate_bench_options *o, struct error *error) {
  if (o->batch < 1 || o->prompt_tokens < 1 || o->decode_tokens < 0 || o->decode_tokens > INT_MAX - o->prompt_tokens ||
      o->repeat < 1 || o->repeat > BENCH_REPEAT_MAX)
    return error_set(error, ERROR_INVALID,
                     "A bench of batch %d, %d prompt and %d decode tokens, %d runs; expected at least 1, 1, 0 and 1 to "
                     "%d.",
                     o->batch, o->prompt_tokens, o->decode_tokens, o->repeat, BENCH_REPEAT_MAX);
  return true;
}

static bool bench_runs(struct bench *bench, struct error *error) {
  const spate_bench_options *o = bench->options;
  if (!bench_once(bench, 0, error)) return false; /* not counted: warms caches and pages */
  for (int run = 0; run < o->repeat; run++) {
    if (!bench_once(bench, run, error)) return false;
    if (o->progress && !o->progress(o->user, "bench", (uint64_t)run + 1, (uint64_t)o->repeat))
      return error_set(error, ERROR_CANCELLED, "The bench was cancelled.");
  }
  return true;
}

static void bench_release(struct bench *bench) {
  if (!bench) return;
  direct_release(&bench->steps);
  free(bench->tokens);
  free(bench);
}

/* NULL on failure. The options outlive the bench. */
static struct bench *bench_new(const struct loaded_engine *engine, const spate_bench_options *o, struct error *error) {
  if (!bench_options_check(o, error)) return NULL;
  struct bench *bench = calloc(1, sizeof *bench);
  if (bench) {
    bench->engine = engine;
    bench->options = o;
    bench->tokens = calloc((size_t)o->batch * (size_t)o->prompt_tokens, sizeof *bench->tokens);
  }
  bool made = bench && bench->tokens
                  ? direct_init(&bench->steps, engine, o->batch, o->prompt_tokens + o->decode_tokens, error)
                  : error_set(error, ERROR_MEMORY, "Out of memory for the prompts.");
  if (made) return bench;
  bench_release(bench);
  return NULL;
}

bool bench_speed_measure(spate_engine *engine, const spate_bench_options *o, struct bench_speed *speed,
                         struct error *error) {
  if (!runtime_park(engine->runtime, error)) return false;
  struct bench *bench = bench_new(engine->loaded, o, error);
  bool done = bench && bench_runs(bench, error);
  if (done) {
    speed->prefill = o->batch * o->prompt_tokens / bench_median(bench->prefill, o->repeat);
    speed->decode = o->batch * o->decode_tokens / bench_median(bench->decode, o->repeat);
  }
  bench_release(bench);
  runtime_resume(engine->runtime);
  return done;
}

bool spate_bench(spate_engine *engine, const spate_bench_options *options, spate_text *json, spate_error *error) {
  struct error detail = {0};
  spate_bench_options read;
  if (!bench_options_read(options, &read, &detail) || !runtime_park(engine->runtime, &detail))
    return error_export(&detail, error);
  struct machine_rates rates;
  struct buffer out;
  buffer_init(&out, BENCH_TEXT_MAX);
  struct bench *bench = bench_new(engine->loaded, &read, &detail);
  bool done = bench && rates_measure(engine->loaded, &rates, &detail) && bench_runs(bench, &detail);
  if (done) bench_write(bench, &rates, &out);
  bench_release(bench);
  runtime_resume(engine->runtime);
  if (done && text_export(&out, json, &detail)) return true;
  if (!done) buffer_release(&out);
  return error_export(&detail, error);
}

/* --- logits ------------------------------------------------------------------------------------------------------- */

static bool logits_run(struct direct_steps *steps, const int32_t *tokens, int n_token, int chunk, float *out,
                       struct error *error) {
  int vocab = steps->engine->plan->vocab;
  for (int done = 0, n; done < n_token; done += n) {
    struct result result;
    n = n_token - done < chunk ? n_token - done : chunk;
    if (!direct_step(steps, tokens + done, n, OUTPUT_ALL, true, &result, error)) return false;
    if (!result.logits)
      return error_set(error, ERROR_UNSUPPORTED, "The backend %s computes no logits; open the engine with another.",
                       steps->engine->backend->name);
    memcpy(out + (size_t)done * (size_t)vocab, result.logits, (size_t)n * (size_t)vocab * sizeof *out);
  }
  return true;
}

bool spate_logits(spate_engine *engine, const int32_t *tokens, int n_token, int chunk, float *out, spate_error *error) {
  struct error detail = {0};
  const struct limits *limits = &engine->loaded->limits;
  int most = limits->outputs < limits->tokens ? limits->outputs : limits->tokens;
  if (chunk < 1 || chunk > most) chunk = most;
  if (!runtime_park(engine->runtime, &detail)) return error_export(&detail, error);
  struct direct_steps steps;
  bool done = direct_init(&steps, engine->loaded, 1, n_token, &detail);
  if (done) {
    done = logits_run(&steps, tokens, n_token, chunk, out, &detail);
    direct_release(&steps);
  }
  runtime_resume(engine->runtime);
  return done || error_export(&detail, error);
}
