/* spate bench: rates of a model beside the floors that the machine sets, or the machine's limits alone. */
#include "base/json.h"
#include "base/limits.h"
#include "cli/command.h"
#include "cli/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double number_of(const json_t *object, const char *name) {
  return json_number_value(json_object_get(object, name));
}

static const char *text_of(const json_t *object, const char *name) {
  const char *text = json_string_value(json_object_get(object, name));
  return text ? text : "";
}

static void machine_print(const json_t *machine) {
  printf("\n%-22s%12s\n", "reads of", "GB/s");
  const json_t *read = json_object_get(machine, "read");
  for (size_t i = 0; i < json_array_size(read); i++) {
    const json_t *line = json_array_get(read, i);
    printf("%17.1f MiB %12.1f\n", number_of(line, "bytes") / (1 << 20), number_of(line, "gbs"));
  }
  printf("\n%-22s%12s\n", "arithmetic", "Gop/s");
  static const char *const rate[][2] = {
      {"int8", "int8_gops"}, {"BF16", "bf16_gflops"}, {"FP16", "fp16_gflops"}, {"FP32", "fp32_gflops"}};
  for (size_t i = 0; i < sizeof rate / sizeof *rate; i++) {
    double value = number_of(machine, rate[i][1]);
    if (value > 0)
      printf("%-22s%12.0f\n", rate[i][0], value);
    else
      printf("%-22s%12s\n", rate[i][0], "none");
  }
}

/* What only a device with memory of its own has. */
static void device_print(const json_t *machine) {
  static const struct {
    const char *name, *text, *unit;
  } line[] = {{"copy_gbs", "copies", "GB/s"},
              {"link_gbs", "from the host", "GB/s"},
              {"launch_gap_us", "gap between kernels", "us"},
              {"graph_gap_us", "the same in a graph", "us"}};
  if (number_of(machine, "link_gbs") <= 0) return;
  printf("\n%-22s%12s\n", "device", "");
  for (size_t i = 0; i < sizeof line / sizeof *line; i++)
    printf("%-22s%12.2f %s\n", line[i].text, number_of(machine, line[i].name), line[i].unit);
}

static void phase_print(const char *name, const json_t *phase, double gbs) {
  printf("%-10s%12.1f%12.1f%10.0f %%", name, number_of(phase, "tokens_per_second"), number_of(phase, "seconds") * 1e3,
         number_of(phase, "fraction_of_floor") * 100);
  if (gbs > 0) printf("%10.1f", gbs);
  printf("\n");
}

/* Of "op 7 (attend, layer 1): why" the kind and the reason, which many layers share. */
static void fallback_split(const json_t *line, char text[160]) {
  char kind[32] = "", why[112] = "";
  const char *whole = json_string_value(line);
  if (sscanf(whole, "op %*d (%31[^,], layer %*d): %111[^\n]", kind, why) == 2)
    snprintf(text, 160, "%s: %s", kind, why);
  else
    snprintf(text, 160, "%s", whole);
}

/* One line for each kind of op and reason, with the number of ops that share it. */
static void fallback_print(const json_t *fallbacks, size_t index) {
  char text[160], other[160];
  int count = 0;
  fallback_split(json_array_get(fallbacks, index), text);
  for (size_t i = 0; i < json_array_size(fallbacks); i++) {
    fallback_split(json_array_get(fallbacks, i), other);
    if (strcmp(text, other) != 0) continue;
    if (i < index) return;
    count++;
  }
  printf("  %s (%d of them)\n", text, count);
}

static void fallbacks_print(const json_t *fallbacks) {
  printf("\n%s\n", json_array_size(fallbacks) ? "On a slower path:" : "Every op runs on its fast path.");
  for (size_t i = 0; i < json_array_size(fallbacks); i++) fallback_print(fallbacks, i);
}

static void bench_print(const json_t *root) {
  printf("%s on %s\nbatch %.0f, %.0f prompt and %.0f decode tokens, medians of %.0f\n\n", text_of(root, "model"),
         text_of(root, "device"), number_of(root, "batch"), number_of(root, "prompt_tokens"),
         number_of(root, "decode_tokens"), number_of(root, "repeat"));
  printf("%-10s%12s%12s%12s%10s\n", "", "tokens/s", "ms", "of floor", "GB/s");
  phase_print("prefill", json_object_get(root, "prefill"), 0);
  phase_print("decode", json_object_get(root, "decode"), number_of(root, "decode_gbs"));
  printf("\nA decode step reads %.1f MB; this machine reads that at %.1f GB/s.\n", number_of(root, "step_bytes") * 1e-6,
         number_of(root, "bandwidth_gbs"));
  fallbacks_print(json_object_get(root, "fallbacks"));
}

/* A table in markdown, for SPEED.md. */
static void random_print(const json_t *root) {
  const json_t *steps = json_object_get(root, "steps");
  printf("%s, random %s weights, on %s; the cache is %s; medians of %.0f steps\n\n", text_of(root, "model"),
         text_of(root, "quant_mode"), text_of(root, "device"), text_of(root, "cache"), number_of(root, "repeat"));
  printf("| work | ms | floor, ms | of floor | tokens/s | logits |\n|---|---|---|---|---|---|\n");
  for (size_t i = 0; i < json_array_size(steps); i++) {
    const json_t *step = json_array_get(steps, i);
    bool prefill = strcmp(text_of(step, "work"), "prefill") == 0;
    printf("| %s, %s %.0f", text_of(step, "work"), prefill ? "tokens" : "batch",
           number_of(step, prefill ? "context" : "batch"));
    if (!prefill) printf(", context %.0f", number_of(step, "context"));
    if (!prefill && json_object_get(step, "prompt_tokens"))
      printf(", beside %.0f of a prompt", number_of(step, "prompt_tokens"));
    printf(" | %.3f | %.3f | %.1f %% | %.0f |", number_of(step, "seconds") * 1e3,
           number_of(step, "floor_seconds") * 1e3, number_of(step, "fraction_of_floor") * 100,
           number_of(step, "tokens_per_second"));
    if (json_object_get(step, "finite"))
      printf(" %s %s, %s, %.1e |\n", json_is_true(json_object_get(step, "finite")) ? "finite" : "**NOT FINITE**",
             text_of(step, "hash"), json_is_true(json_object_get(step, "same_argmax")) ? "same token" : "another token",
             number_of(step, "difference"));
    else
      printf(" |\n");
  }
  fallbacks_print(json_object_get(root, "fallbacks"));
}

/* Prints JSON as it is or as tables, and frees it. */
static int report_print(const struct settings *settings, spate_text *json) {
  struct error error;
  json_t *root = settings->json ? NULL : json_parse(slice_make(json->data, json->size), &error);
  int code = 0;
  if (settings->json)
    printf("%s\n", json->data);
  else if (!root)
    code = command_fail(error.text);
  else if (settings->machine) {
    printf("%s\n", text_of(root, "device"));
    machine_print(json_object_get(root, "machine"));
    device_print(json_object_get(root, "machine"));
  } else if (settings->random)
    random_print(root);
  else
    bench_print(root);
  json_decref(root);
  spate_text_free(json);
  return code;
}

static int machine_bench(const struct settings *settings) {
  struct progress progress = {0};
  spate_error error;
  spate_text json;
  if (!spate_bench_machine(settings->device, settings->threads, progress_show, &progress, &json, &error))
    return command_fail(error.text);
  return report_print(settings, &json);
}

static void bench_options_fill(const struct settings *s, struct progress *progress, spate_bench_options *options) {
  spate_bench_options_init(options);
  if (s->has_prompt_tokens) options->prompt_tokens = s->prompt_tokens;
  if (s->has_decode_tokens) options->decode_tokens = s->decode_tokens;
  if (s->has_repeat) options->repeat = s->repeat;
  options->all_outputs = s->all_outputs;
  options->progress = progress_show;
  options->user = progress;
}

enum { BATCHES_MAX = 16 };

/* "1,8,32" as numbers; 0 when it is no such list. */
static int batches_parse(const char *text, int batch[BATCHES_MAX]) {
  int count = 0;
  for (char *end; count < BATCHES_MAX; text = end + 1) {
    long value = strtol(text, &end, 10);
    if (end == text || value < 1 || value > LIMIT_BATCH_SIZE || (*end && *end != ',')) return 0;
    batch[count++] = (int)value;
    if (!*end) return count;
  }
  return 0;
}

static int random_bench(const struct settings *s, const int *batch, int n_batch) {
  struct progress progress = {0};
  spate_random_options options;
  spate_error error;
  spate_text json;
  spate_random_options_init(&options);
  options.model = s->random;
  options.batch_invariant = s->batch_invariant;
  options.cpu_experts = s->cpu_experts;
  options.quant_mode = s->quant_mode;
  options.kv_cache_dtype = s->kv_cache_dtype;
  options.device = s->device;
  options.batch = batch;
  options.n_batch = n_batch;
  if (s->has_context) options.context = s->context;
  if (s->has_prompt_tokens) options.prompt_tokens = s->prompt_tokens;
  options.beside = s->beside;
  if (s->has_repeat) options.repeat = s->repeat;
  options.threads = s->threads;
  options.progress = progress_show;
  options.user = &progress;
  return spate_bench_random(&options, &json, &error) ? report_print(s, &json) : command_fail(error.text);
}

int command_bench(const struct settings *settings) {
  int batch[BATCHES_MAX], n_batch = batches_parse(settings->batch ? settings->batch : "1", batch);
  if (n_batch == 0) return command_fail("--batch is no list of up to 16 whole numbers from 1 to 1024, as in 1,8,32.");
  if (settings->machine) return machine_bench(settings);
  if (settings->random) return random_bench(settings, batch, n_batch);
  if (!settings->operand) return command_fail("spate bench needs MODEL or ENGINE, --machine or --random NAME.");
  if (n_batch > 1) return command_fail("--batch takes several numbers with --random alone.");
  struct progress progress = {0};
  spate_bench_options options;
  bench_options_fill(settings, &progress, &options);
  options.batch = batch[0];
  spate_engine *engine = command_open(settings);
  if (!engine) return 1;
  spate_error error;
  spate_text json;
  int code = spate_bench(engine, &options, &json, &error) ? report_print(settings, &json) : command_fail(error.text);
  spate_close(engine);
  return code;
}
