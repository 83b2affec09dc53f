/* spate build: a model into an engine file. */
#include "base/json.h"
#include "cli/command.h"
#include "cli/progress.h"

#include <stdio.h>
#include <string.h>

/* Matrices of one scheme. */
struct share {
  const char *scheme;
  int count;
  double numbers, bytes;
};

enum { SHARES_MOST = 16 };

/* A vector has a row and no scheme of its own to choose. */
static void share_add(struct share *shares, json_t *weight) {
  const char *scheme = json_string_value(json_object_get(weight, "scheme"));
  double rows = json_number_value(json_object_get(weight, "rows"));
  int i = 0;
  if (!scheme || rows <= 1) return;
  while (i < SHARES_MOST - 1 && shares[i].scheme && strcmp(shares[i].scheme, scheme) != 0) i++;
  shares[i].scheme = scheme;
  shares[i].count++;
  shares[i].numbers += rows * json_number_value(json_object_get(weight, "cols"));
  shares[i].bytes += json_number_value(json_object_get(weight, "bytes"));
}

/* What quant_mode auto chose: a row for each scheme. inspect has the weights one by one. */
static void choice_print(json_t *manifest) {
  struct share shares[SHARES_MOST] = {{0}};
  json_t *weights = json_object_get(manifest, "weights");
  double numbers = 0;
  for (size_t i = 0; i < json_array_size(weights); i++) share_add(shares, json_array_get(weights, i));
  for (int i = 0; i < SHARES_MOST; i++) numbers += shares[i].numbers;
  printf("%-24s %8s %10s %6s\n", "scheme", "matrices", "numbers, %", "bits");
  for (int i = 0; i < SHARES_MOST && shares[i].scheme; i++)
    printf("%-24s %8d %10.1f %6.2f\n", shares[i].scheme, shares[i].count, 100 * shares[i].numbers / numbers,
           8 * shares[i].bytes / shares[i].numbers);
  printf("On average %.3f bits of %g.\n", json_number_value(json_object_get(manifest, "average_bits")),
         json_number_value(json_object_get(json_object_get(manifest, "config"), "target_bits")));
}

static int choice_show(const char *engine) {
  spate_text text;
  spate_error error;
  struct error detail;
  struct progress progress = progress_quiet();
  if (!spate_inspect(engine, progress_show, &progress, &text, &error)) return command_fail(error.text);
  json_t *root = json_parse(slice_make(text.data, text.size), &detail);
  if (root) choice_print(json_object_get(root, "manifest"));
  int code = root ? 0 : command_fail(detail.text);
  json_decref(root);
  spate_text_free(&text);
  return code;
}

int command_build(const struct settings *settings) {
  if (!settings->output) return command_fail("spate build needs --output FILE: where to write the engine.");
  struct progress progress;
  spate_build_options build;
  build_options_fill(settings, &build);
  build.progress = progress_show;
  build.user = &progress;
  spate_error error;
  progress_begin(&progress);
  bool built = spate_build(&build, &error);
  progress_end(&progress);
  if (!built) return command_fail(error.text);
  printf("Built %s.\n", settings->output);
  return settings->target_bits > 0 ? choice_show(settings->output) : 0;
}
