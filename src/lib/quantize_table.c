/* spate.h: every mode of one model, measured one after the other. */
#include "backend/device_choice.h"
#include "base/json.h"
#include "build/calibration_journal.h"
#include "lib/bench_speed.h"
#include "lib/public_options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TABLE_TEXT_MAX = 16 << 20, TABLE_OUTPUTS = 128 };

/* The first is what the others are compared with. To add one: a line. `claimed`: by which factor the field's guides say
 * that it is faster. */
static const struct mode {
  const char *name, *quant_mode, *quant_algo, *claimed;
} modes[] = {
    {"FP32", "FP32", NULL, "1"},
    {"FP16", "FP16", NULL, "2"},
    {"BF16", "BF16", NULL, ""},
    {"FP8", "FP8", NULL, "2.5"},
    {"INT8_WEIGHT", "INT8_WEIGHT", NULL, "3-4"},
    {"W8A8", "W8A8", NULL, ""},
    {"W8A8 SMOOTHQUANT", "W8A8", "SMOOTHQUANT", ""},
    {"INT4_WEIGHT", "INT4_WEIGHT", NULL, "5-6"},
    {"INT4_WEIGHT AWQ", "INT4_WEIGHT", "AWQ", "5-6"},
    {"INT4_WEIGHT GPTQ", "INT4_WEIGHT", "GPTQ", "5-6"},
};
enum { MODE_COUNT = sizeof modes / sizeof *modes };

static const int batches[] = {1, 16};
enum { BATCH_COUNT = sizeof batches / sizeof *batches };

struct table {
  spate_table_options options;
  const char *target;         /* that engines are packed for */
  char folder[PATH_MAX - 64]; /* ours, removed at the end */
  char base[PATH_MAX];        /* the engine of modes[0] */
  struct buffer out;
};

static void mode_path(const struct table *table, int mode, char path[PATH_MAX]) {
  snprintf(path, PATH_MAX, "%s/%d.spate", table->folder, mode);
}

/* --- one mode ----------------------------------------------------------------------------------------------------- */

static bool mode_build(const struct table *table, int mode, const char *path, spate_error *error) {
  spate_build_options build;
  spate_build_options_init(&build);
  build.model = table->options.model;
  build.output = path;
  build.quant_mode = modes[mode].quant_mode;
  build.quant_algo = modes[mode].quant_algo;
  build.emulate = true; /* what the device emulates is measured too */
  build.target = table->target;
  build.progress = table->options.progress;
  build.user = table->options.user;
  return spate_build(&build, error);
}

static spate_engine *mode_open(const struct table *table, const char *path, spate_error *error) {
  spate_open_options open;
  spate_open_options_init(&open);
  open.model = path;
  open.threads = table->options.threads;
  open.max_outputs = TABLE_OUTPUTS;
  return spate_open(&open, error);
}

/* `,"decode":[{"batch":1,"tokens_per_second":…},…],"prefill_tokens_per_second":…` */
static bool speed_measure(struct table *table, spate_engine *engine, struct buffer *out, spate_error *error) {
  struct bench_speed speed[BATCH_COUNT];
  struct error detail = {0};
  buffer_text(out, ",\"decode\":[");
  for (int i = 0; i < BATCH_COUNT; i++) {
    spate_bench_options bench;
    spate_bench_options_init(&bench);
    bench.batch = batches[i];
    bench.prompt_tokens = table->options.prompt_tokens;
    bench.decode_tokens = table->options.decode_tokens;
    bench.repeat = table->options.repeat;
    bench.progress = table->options.progress;
    bench.user = table->options.user;
    if (!bench_speed_measure(engine, &bench, &speed[i], &detail)) return error_export(&detail, error);
    buffer_print(out, "%s{\"batch\":%d,\"tokens_per_second\":", i ? "," : "", batches[i]);
    json_write_number(out, speed[i].decode);
    buffer_text(out, "}");
  }
  buffer_text(out, "],\"prefill_tokens_per_second\":");
  json_write_number(out, speed[0].prefill);
  return true;
}

static bool loss_measure(struct table *table, int mode, spate_engine *engine, struct buffer *out, spate_error *error) {
  spate_eval_options eval;
  spate_open_options open;
  spate_text json;
  spate_open_options_init(&open);
  open.threads = table->options.threads;
  spate_eval_options_init(&eval);
  eval.text = table->options.text;
  eval.window = table->options.window;
  eval.max_tokens = table->options.max_tokens;
  eval.against = mode > 0 ? table->base : NULL;
  eval.open = &open;
  eval.progress = table->options.progress;
  eval.user = table->options.user;
  if (!spate_eval(engine, &eval, &json, error)) return false;
  buffer_text(out, ",\"evaluation\":");
  buffer_append(out, json.data, json.size);
  spate_text_free(&json);
  return true;
}

/* Appends the mode's figures; what is there of them when one fails does not count. */
static bool mode_measure(struct table *table, int mode, const char *path, struct buffer *out, spate_error *error) {
  struct stat status;
  if (!mode_build(table, mode, path, error)) return false;
  spate_engine *engine = mode_open(table, path, error);
  if (!engine) return false;
  buffer_print(out, ",\"bytes\":%lld", stat(path, &status) == 0 ? (long long)status.st_size : 0);
  bool done = speed_measure(table, engine, out, error) && loss_measure(table, mode, engine, out, error);
  spate_close(engine);
  return done;
}

/* --- all modes ---------------------------------------------------------------------------------------------------- */

/* That the first mode fails, or the caller has had enough, ends it; that a mode has no kernel here is a fact to tell.
 */
static bool mode_add(struct table *table, int mode, spate_error *error) {
  char path[PATH_MAX];
  struct buffer figures;
  mode_path(table, mode, path);
  buffer_init(&figures, TABLE_TEXT_MAX);
  bool done = mode_measure(table, mode, path, &figures, error);
  buffer_print(&table->out, "%s{\"name\":\"%s\",\"claimed\":\"%s\"", mode ? "," : "", modes[mode].name,
               modes[mode].claimed);
  if (done) {
    buffer_append(&table->out, figures.data, figures.size);
  } else {
    buffer_text(&table->out, ",\"problem\":");
    json_write_string(&table->out, slice_text(error->text));
  }
  buffer_text(&table->out, "}");
  buffer_release(&figures);
  if (mode > 0) unlink(path);
  calibration_journal_remove(path);
  return done || (mode > 0 && error->code != SPATE_CANCELLED);
}

static bool folder_make(struct table *table, struct error *error) {
  const char *given = table->options.folder ? table->options.folder : getenv("TMPDIR");
  snprintf(table->folder, sizeof table->folder, "%s/spate-table-XXXXXX", given && *given ? given : "/tmp");
  if (!mkdtemp(table->folder))
    return error_set(error, ERROR_IO, "%s, a folder for the engines, cannot be made: %s.", table->folder,
                     strerror(errno));
  mode_path(table, 0, table->base);
  return true;
}

/* The engines' folder also has what the device remembers beside them. */
static void folder_remove(const struct table *table) {
  char path[PATH_MAX];
  unlink(table->base);
  snprintf(path, sizeof path, "%s/tactics.txt", table->folder);
  unlink(path);
  rmdir(table->folder);
}

static bool modes_measure(struct table *table, spate_error *error) {
  buffer_text(&table->out, "{\"model\":");
  json_write_string(&table->out, slice_text(table->options.model));
  buffer_text(&table->out, ",\"text\":");
  json_write_string(&table->out, slice_text(table->options.text));
  buffer_print(&table->out, ",\"prompt_tokens\":%d,\"decode_tokens\":%d,\"modes\":[", table->options.prompt_tokens,
               table->options.decode_tokens);
  for (int i = 0; i < MODE_COUNT; i++) {
    const spate_table_options *o = &table->options;
    if (!mode_add(table, i, error)) return false;
    if (!o->progress || o->progress(o->user, "modes", (uint64_t)i + 1, MODE_COUNT)) continue;
    struct error detail;
    error_set(&detail, ERROR_CANCELLED, "The table was cancelled.");
    return error_export(&detail, error);
  }
  buffer_text(&table->out, "]}");
  return true;
}

static bool table_prepare(struct table *table, const spate_table_options *options, struct error *error) {
  const struct backend *backend;
  if (!table_options_read(options, &table->options, error)) return false;
  if (!table->options.model || !table->options.text)
    return error_set(error, ERROR_INVALID, "A table of modes needs a model and a text.");
  if (engine_file_detect(table->options.model))
    return error_set(error, ERROR_INVALID, "%s is an engine file, whose mode is decided; name the model.",
                     table->options.model);
  if (access(table->options.text, R_OK) != 0)
    return error_set(error, ERROR_NOT_FOUND, "%s cannot be opened: %s.", table->options.text, strerror(errno));
  if (!device_choose(table->options.device, &backend, error)) return false;
  table->target = backend->name;
  return folder_make(table, error);
}

bool spate_quantize_table(const spate_table_options *options, spate_text *json, spate_error *error) {
  struct error detail = {0};
  struct table table;
  if (!table_prepare(&table, options, &detail)) return error_export(&detail, error);
  buffer_init(&table.out, TABLE_TEXT_MAX);
  bool done = modes_measure(&table, error);
  folder_remove(&table);
  if (!done) {
    buffer_release(&table.out);
    return false;
  }
  return text_export(&table.out, json, &detail) || error_export(&detail, error);
}
