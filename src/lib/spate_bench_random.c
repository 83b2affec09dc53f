/* spate.h: decode and prefill of a known network with random weights, each beside its floor. */
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "lib/bench_floor.h"
#include "lib/bench_report.h"
#include "backend/device_choice.h"
#include "lib/direct_steps.h"
#include "lib/public_options.h"
#include "lib/random_engine.h"
#include "lib/spate_state.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

enum { RUNS_MAX = 100, STEP_TOKENS_LEAST = 512 };

struct random_bench {
  const spate_random_options *options;
  const struct loaded_engine *engine;
  struct machine_rates rates;
  struct buffer *out;
  float *first; /* [vocab] logits of the first decode's first sequence */
  bool has_first;
};

/* The same for the first sequence of every batch. */
static void tokens_fill(const struct random_bench *b, int32_t *token, int count) {
  for (int i = 0; i < count; i++) token[i] = (int32_t)((1 + (uint32_t)i * 7919u) % (uint32_t)b->engine->plan->vocab);
}

/* How a sequence's logits compare with those of the first batch: what another regime of kernels may change. */
static void logits_write(struct random_bench *b, const float *logits) {
  int vocab = b->engine->plan->vocab, likeliest = 0, first_likeliest = 0;
  double square = 0, error = 0;
  bool finite = true;
  char hex[33];
  if (!b->has_first) memcpy(b->first, logits, (size_t)vocab * sizeof *logits);
  b->has_first = true;
  for (int i = 0; i < vocab; i++) {
    double d = (double)logits[i] - b->first[i];
    finite = finite && isfinite(logits[i]);
    error += d * d, square += (double)b->first[i] * b->first[i];
    if (logits[i] > logits[likeliest]) likeliest = i;
    if (b->first[i] > b->first[first_likeliest]) first_likeliest = i;
  }
  hash_format(hash_bytes(slice_make(logits, (size_t)vocab * sizeof *logits), 0), hex);
  buffer_print(b->out, "\"finite\":%s,\"hash\":\"%.8s\",\"same_argmax\":%s,", finite ? "true" : "false", hex,
               likeliest == first_likeliest ? "true" : "false");
  number_write(b->out, "difference", finite && square > 0 ? sqrt(error / square) : 0);
}

static void work_write(struct random_bench *b, const struct step_shape *shape, double *seconds, int runs) {
  double median = bench_median(seconds, runs), floor = step_floor(b->engine, &b->rates, shape);
  number_write(b->out, "seconds", median);
  number_write(b->out, "floor_seconds", floor);
  number_write(b->out, "fraction_of_floor", median > 0 ? floor / median : 0);
  buffer_print(b->out, "\"tokens_per_second\":%.6g}", shape->tokens / median);
}

/* The cache as after `context` tokens: random numbers where the backend fills it, otherwise the tokens are run. */
static bool context_make(struct random_bench *b, struct direct_steps *steps, int32_t *token, struct error *error) {
  struct result result;
  int context = b->options->context, most = b->engine->limits.tokens / steps->count;
  if (b->engine->backend->fill_cache) {
    steps->length = context;
    return b->engine->backend->fill_cache(b->engine->program, error);
  }
  for (int n; steps->length < context;) {
    n = context - steps->length < most ? context - steps->length : most;
    tokens_fill(b, token, n * steps->count);
    if (!direct_step(steps, token, n, OUTPUT_NONE, false, &result, error)) return false;
  }
  return true;
}

/* The same step again and again, as many of them under way as the backend runs ahead: seconds from one result to the
 * next. The first few warm up. */
static bool decode_time(struct random_bench *b, const struct batch *batch, double *seconds, struct error *error) {
  const struct backend *backend = b->engine->backend;
  struct program *program = b->engine->program;
  struct result result;
  int under_way = 0, warm = 2 + backend->run_ahead, left = warm + b->options->repeat;
  uint64_t before = clock_ns();
  for (int done = 0; left > 0 || under_way > 0;) {
    if (left > 0) {
      if (!backend->submit(program, batch, error) || !backend->finish(program, NULL, error)) return false;
      left--, under_way++;
      if (under_way <= backend->run_ahead) continue;
    }
    if (!backend->collect(program, &result, error)) return false;
    uint64_t now = clock_ns();
    if (done >= warm) seconds[done - warm] = (double)(now - before) * 1e-9;
    before = now;
    done++, under_way--;
  }
  return true;
}

/* Streams beside a prompt's chunk, which the last sequence is, if one was asked for. */
static bool streams_time(struct random_bench *b, struct direct_steps *steps, const int32_t *token,
                         struct error *error) {
  double seconds[RUNS_MAX];
  struct batch step;
  struct step_shape shape = {.context = b->options->context, .chunk = steps->chunk};
  shape.sequences = shape.tokens = shape.outputs = steps->count - (steps->chunk > 0);
  steps->length = b->options->context;
  if (!direct_batch(steps, token, 1, OUTPUT_LAST, false, &step, error) || !decode_time(b, &step, seconds, error))
    return false;
  work_write(b, &shape, seconds, b->options->repeat);
  return true;
}

static bool beside_run(struct random_bench *b, struct direct_steps *steps, int32_t *token, struct error *error) {
  if (!context_make(b, steps, token, error)) return false;
  steps->chunk = b->options->beside;
  tokens_fill(b, token, steps->count - 1 + steps->chunk);
  buffer_print(b->out, ",{\"work\":\"mixed\",\"batch\":%d,\"context\":%d,\"prompt_tokens\":%d,", steps->count - 1,
               b->options->context, steps->chunk);
  return streams_time(b, steps, token, error);
}

static bool decode_run(struct random_bench *b, struct direct_steps *steps, int32_t *token, struct error *error) {
  struct result result;
  int context = b->options->context, batch = steps->count;
  if (!context_make(b, steps, token, error)) return false;
  tokens_fill(b, token, batch);
  if (!direct_step(steps, token, 1, OUTPUT_LAST, true, &result, error)) return false;
  buffer_print(b->out, "{\"work\":\"decode\",\"batch\":%d,\"context\":%d,", batch, context);
  if (result.logits) logits_write(b, result.logits);
  return streams_time(b, steps, token, error);
}

/* One sequence, in one step. */
static bool prefill_run(struct random_bench *b, struct direct_steps *steps, int32_t *token, struct error *error) {
  double seconds[RUNS_MAX];
  struct result result;
  int n = b->options->prompt_tokens, runs = b->options->repeat < 5 ? b->options->repeat : 5;
  tokens_fill(b, token, n);
  for (int run = -1; run < runs; run++) {
    direct_rewind(steps, 0);
    uint64_t start = clock_ns();
    if (!direct_step(steps, token, n, OUTPUT_LAST, false, &result, error)) return false;
    if (run >= 0) seconds[run] = (double)(clock_ns() - start) * 1e-9;
  }
  struct step_shape shape = {.sequences = 1, .tokens = n, .outputs = 1};
  buffer_print(b->out, ",{\"work\":\"prefill\",\"batch\":1,\"context\":%d,", n);
  work_write(b, &shape, seconds, runs);
  return true;
}

typedef bool bench_part(struct random_bench *b, struct direct_steps *steps, int32_t *token, struct error *error);

static bool part_run(struct random_bench *b, bench_part *run, int batch, int longest, struct error *error) {
  struct direct_steps steps;
  if (!direct_init(&steps, b->engine, batch, longest, error)) return false;
  int32_t *token = calloc((size_t)b->engine->limits.tokens, sizeof *token);
  bool done = token ? run(b, &steps, token, error) : error_set(error, ERROR_MEMORY, "Out of memory for tokens.");
  free(token);
  direct_release(&steps);
  return done;
}

static bool parts_run(struct random_bench *b, struct error *error) {
  const spate_random_options *o = b->options;
  if (!rates_measure(b->engine, &b->rates, error)) return false;
  buffer_text(b->out, "{\"model\":");
  json_write_string(b->out, slice_text(b->engine->file.facts->name));
  enum quant_mode mode = b->engine->file.facts->config.quant_mode;
  buffer_print(b->out, ",\"quant_mode\":\"%s\"", mode == QUANT_AS_FILE ? "BF16" : quant_mode_name(mode));
  buffer_text(b->out, ",\"device\":");
  json_write_string(b->out, slice_text(b->engine->backend->describe(b->engine->device)));
  buffer_print(b->out, ",\"cache\":\"%s %s\",\"repeat\":%d,\"steps\":[",
               b->engine->backend->fill_cache ? "random" : "computed", kv_dtype_name(b->engine->limits.kv_dtype),
               o->repeat);
  for (int i = 0; i < o->n_batch; i++) {
    if (i) buffer_text(b->out, ",");
    if (!part_run(b, decode_run, o->batch[i], o->context + 1, error)) return false;
    if (o->beside && !part_run(b, beside_run, o->batch[i] + 1, o->context + o->beside, error)) return false;
    if (o->progress && !o->progress(o->user, "decode", (uint64_t)i + 1, (uint64_t)o->n_batch))
      return error_set(error, ERROR_CANCELLED, "The bench was cancelled.");
  }
  if (o->prompt_tokens && !part_run(b, prefill_run, 1, o->prompt_tokens, error)) return false;
  buffer_text(b->out, "],");
  fallbacks_write(b->out, b->engine);
  buffer_text(b->out, ",\"machine\":");
  rates_write(b->out, &b->rates);
  buffer_text(b->out, "}");
  return true;
}

static bool options_check(const spate_random_options *o, struct error *error) {
  bool ok = o->model && o->n_batch > 0 && o->context > 0 && o->context < INT_MAX && o->prompt_tokens >= 0 &&
            o->beside >= 0 && o->repeat > 0 && o->repeat <= RUNS_MAX;
  for (int i = 0; ok && i < o->n_batch; i++) ok = o->batch[i] > 0;
  return ok || error_set(error, ERROR_INVALID,
                         "A bench of a random network needs its name, batches and a context of at least 1, 0 or more "
                         "prompt tokens and 1 to %d runs.",
                         RUNS_MAX);
}

static int larger(int a, int b) { return a > b ? a : b; }

/* Just what the parts need: the cache of the largest. */
static struct engine_config config_of(const spate_random_options *o) {
  struct engine_config c = {.max_batch_size = 1, .max_seq_len = o->context + (o->beside ? o->beside : 1)};
  for (int i = 0; i < o->n_batch; i++) c.max_batch_size = larger(c.max_batch_size, o->batch[i]);
  if (o->beside) c.max_batch_size++;
  c.max_seq_len = larger(c.max_seq_len, o->prompt_tokens);
  c.max_num_tokens = larger(larger(o->prompt_tokens, STEP_TOKENS_LEAST), c.max_batch_size + o->beside);
  return c;
}

static bool random_run(const spate_random_options *o, struct buffer *out, struct error *error) {
  struct random_engine engine = {0};
  /* Measuring the machine wants some memory too. */
  struct engine_options options = {.device = {.n_thread = o->threads},
                                   .memory_fraction = 0.9,
                                   .batch_invariant = o->batch_invariant,
                                   .cpu_experts = o->cpu_experts};
  if (!options_check(o, error) || !count_check("cpu_experts", o->cpu_experts, LIMIT_MODEL_LAYERS, error) ||
      !kv_choice_parse(o->kv_cache_dtype, &options.kv, error) || !device_choose(o->device, &options.backend, error))
    return false;
  struct engine_config config = config_of(o);
  if (!quant_mode_parse(o->quant_mode, &config.quant_mode, error)) return false;
  struct random_bench bench = {.options = o, .out = out};
  bool done = random_engine_open(&engine, o->model, &config, &options, error);
  bench.engine = engine.loaded;
  if (done) bench.first = calloc((size_t)bench.engine->plan->vocab, sizeof *bench.first);
  done = done && bench.first && parts_run(&bench, error);
  free(bench.first);
  random_engine_release(&engine);
  return done;
}

bool spate_bench_random(const spate_random_options *options, spate_text *json, spate_error *error) {
  struct error detail = {.text = "Out of memory.", .code = ERROR_MEMORY};
  spate_random_options read;
  struct buffer out;
  buffer_init(&out, BENCH_TEXT_MAX);
  if (random_options_read(options, &read, &detail) && random_run(&read, &out, &detail) &&
      text_export(&out, json, &detail))
    return true;
  buffer_release(&out);
  return error_export(&detail, error);
}
