/* spate quantize-table: what each mode of a model gains and loses here, as a table in markdown. */
#include "base/json.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/result_file.h"

#include <stdio.h>

static double number_of(const json_t *object, const char *name) {
  return json_number_value(json_object_get(object, name));
}

static double decode_of(const json_t *mode, size_t batch) {
  return number_of(json_array_get(json_object_get(mode, "decode"), batch), "tokens_per_second");
}

static void mode_print(const json_t *mode, const json_t *base) {
  const json_t *evaluation = json_object_get(mode, "evaluation");
  const json_t *against = json_object_get(evaluation, "against");
  double prefill = number_of(mode, "prefill_tokens_per_second");
  printf("| %s | %s |", json_string_value(json_object_get(mode, "name")),
         json_string_value(json_object_get(mode, "claimed")));
  for (size_t i = 0; i < 2; i++) printf(" %.1f | %.2f |", decode_of(mode, i), decode_of(mode, i) / decode_of(base, i));
  printf(" %.0f | %.2f | %.1f | %.3f |", prefill, prefill / number_of(base, "prefill_tokens_per_second"),
         number_of(evaluation, "weight_bytes") / 1e6, number_of(json_object_get(evaluation, "text"), "perplexity"));
  if (against)
    printf(" %.5f | %.4f | %.2f %% |\n", number_of(against, "mean_kl"), number_of(against, "p999_kl"),
           100 * number_of(against, "same_top"));
  else
    printf(" | | |\n");
}

static void table_print(const json_t *root) {
  const json_t *modes = json_object_get(root, "modes"), *base = json_array_get(modes, 0);
  const json_t *text = json_object_get(json_object_get(base, "evaluation"), "text");
  printf("%s on %s; %.0f tokens in windows of %.0f; x: times FP32\n\n",
         json_string_value(json_object_get(root, "model")),
         json_string_value(json_object_get(json_object_get(base, "evaluation"), "device")), number_of(text, "tokens"),
         number_of(text, "window"));
  printf(
      "| mode | claimed x | tokens/s, batch 1 | x | tokens/s, batch 16 | x | prefill tokens/s | x | weights, MB | "
      "perplexity | mean KL | p99.9 KL | same first choice |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
  for (size_t i = 0; i < json_array_size(modes); i++)
    if (json_object_get(json_array_get(modes, i), "evaluation")) mode_print(json_array_get(modes, i), base);
  for (size_t i = 0; i < json_array_size(modes); i++) {
    const json_t *mode = json_array_get(modes, i), *problem = json_object_get(mode, "problem");
    if (!problem) continue;
    putchar('\n');
    sentence_print(stdout, json_string_value(json_object_get(mode, "name")), json_string_value(problem));
  }
}

static int report_print(const spate_text *json) {
  struct error error;
  json_t *root = json_parse(slice_make(json->data, json->size), &error);
  if (!root) return command_fail(error.text);
  table_print(root);
  json_decref(root);
  return 0;
}

static void table_options_fill(const struct settings *s, struct progress *progress, spate_table_options *options) {
  spate_table_options_init(options);
  options->model = s->operand;
  options->text = s->text;
  options->window = s->window;
  options->max_tokens = s->eval_tokens;
  options->device = s->device;
  options->threads = s->threads;
  if (s->has_prompt_tokens) options->prompt_tokens = s->prompt_tokens;
  if (s->has_decode_tokens) options->decode_tokens = s->decode_tokens;
  if (s->has_repeat) options->repeat = s->repeat;
  options->progress = progress_show;
  options->user = progress;
}

int command_quantize_table(const struct settings *s) {
  struct progress progress;
  spate_table_options options;
  spate_error error;
  spate_text json;
  if (!s->text) return command_fail("spate quantize-table needs --text FILE: what losses are measured on.");
  table_options_fill(s, &progress, &options);
  progress_begin(&progress);
  bool done = spate_quantize_table(&options, &json, &error);
  progress_end(&progress);
  if (!done) return command_fail(error.text);
  int code = report_print(&json), written = results_write(s, &json);
  spate_text_free(&json);
  return code ? code : written;
}
