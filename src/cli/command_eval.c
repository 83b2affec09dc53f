/* spate eval: what an engine's answers are worth, from the library's JSON. */
#include "base/json.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/result_file.h"
#include "cli/terminal_answer.h"

#include <stdio.h>

static double number_of(const json_t *object, const char *name) {
  return json_number_value(json_object_get(object, name));
}

static const char *text_of(const json_t *object, const char *name) {
  const char *text = json_string_value(json_object_get(object, name));
  return text ? text : "";
}

static void text_print(const json_t *root) {
  const json_t *text = json_object_get(root, "text"), *against = json_object_get(root, "against");
  if (!text) return;
  printf("\n%.0f tokens in windows of %.0f\n%-24s%12.4f\n%-24s%12.4f\n%-24s%12.1f\n", number_of(text, "tokens"),
         number_of(text, "window"), "perplexity", number_of(text, "perplexity"), "bits per byte",
         number_of(text, "bits_per_byte"), "tokens/s", number_of(text, "tokens_per_second"));
  if (!against) return;
  printf("\nagainst %s %s\n%-24s%12.4f\n%-24s%12.6f\n%-24s%12.6f\n%-24s%12.6f\n%-24s%10.2f %%\n",
         text_of(against, "model"), text_of(against, "quant_mode"), "its perplexity", number_of(against, "perplexity"),
         "mean KL, nats", number_of(against, "mean_kl"), "p99.9 KL", number_of(against, "p999_kl"), "largest KL",
         number_of(against, "most_kl"), "same first choice", 100 * number_of(against, "same_top"));
}

static void task_print(const json_t *root) {
  static const char *const figures[] = {"acc", "acc_norm", "exact_match_strict", "exact_match_flexible"};
  const json_t *task = json_object_get(root, "task");
  if (!task) return;
  printf("\n%s: %.0f questions in the layout of %s, %.1f s\n", text_of(task, "file"), number_of(task, "items"),
         text_of(task, "layout"), number_of(task, "seconds"));
  for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
    char error[64];
    snprintf(error, sizeof error, "%s_stderr", figures[i]);
    if (json_object_get(task, figures[i]))
      printf("%-24s%12.4f +- %.4f\n", figures[i], number_of(task, figures[i]), number_of(task, error));
  }
}

static void adapters_print(const json_t *adapters) {
  for (size_t i = 0; i < json_array_size(adapters); i++)
    printf("with %g times the adapter %s\n", number_of(json_array_get(adapters, i), "scale"),
           text_of(json_array_get(adapters, i), "name"));
}

static int report_print(const spate_text *json) {
  struct error error;
  json_t *root = json_parse(slice_make(json->data, json->size), &error);
  if (!root) return command_fail(error.text);
  printf("%s %s %s on %s, %.1f MB of weights\n", text_of(root, "model"), text_of(root, "quant_mode"),
         text_of(root, "quant_algo"), text_of(root, "device"), number_of(root, "weight_bytes") / 1e6);
  adapters_print(json_object_get(root, "adapters"));
  text_print(root);
  task_print(root);
  json_decref(root);
  return 0;
}

static void eval_options_fill(const struct settings *s, const spate_open_options *open, struct progress *progress,
                              spate_eval_options *options) {
  spate_eval_options_init(options);
  options->text = s->text;
  options->window = s->window;
  options->max_tokens = s->eval_tokens;
  options->against = s->against;
  options->task = s->task;
  options->shots = s->shots;
  options->max_items = s->max_items;
  options->open = open;
  options->progress = progress_show;
  options->user = progress;
}

int command_eval(const struct settings *settings) {
  struct progress progress;
  spate_eval_options options;
  spate_open_options open;
  struct lora_words adapters;
  spate_error error;
  spate_text json;
  if (!settings->operand && settings->plot) return results_write(settings, NULL);
  if (!settings->operand) return command_fail("spate eval needs MODEL or ENGINE, or --plot FILE and --result FILE.");
  if (!loras_read(&settings->loras, &adapters, &error)) return command_fail(error.text);
  spate_engine *engine = command_open(settings);
  if (!engine) return 1;
  spate_open_options_init(&open);
  open.cache_dir = settings->cache_dir;
  open.threads = settings->threads;
  open.device = settings->device;
  eval_options_fill(settings, &open, &progress, &options);
  options.loras = adapters.lora;
  options.n_loras = settings->loras.count;
  progress_begin(&progress);
  bool done = spate_eval(engine, &options, &json, &error);
  progress_end(&progress);
  spate_close(engine);
  if (!done) return command_fail(error.text);
  int code = report_print(&json), written = results_write(settings, &json);
  spate_text_free(&json);
  return code ? code : written;
}
