/* spate.h: texts, inspection, tokenization. */
#include "base/json.h"
#include "build/draft.h"
#include "build/inspect.h"
#include "hub/hub_cache.h"
#include "lib/public_options.h"
#include "lib/spate_state.h"

#include <stdlib.h>

enum { TEXT_MAX = 256 << 20 };

bool text_export(struct buffer *buffer, spate_text *text, struct error *error) {
  size_t size = buffer->size;
  if (!buffer_append(buffer, "", 1)) {
    buffer_release(buffer);
    return error_set(error, ERROR_MEMORY, "The text does not fit in %zu bytes.", buffer->max);
  }
  *text = (spate_text){buffer->data, size};
  return true;
}

void spate_text_free(spate_text *text) {
  free(text->data);
  *text = (spate_text){0};
}

bool spate_inspect(const char *path, spate_progress progress, void *user, spate_text *json, spate_error *error) {
  struct build_progress stages = {.report = progress, .user = user};
  struct error detail = {0};
  struct buffer out;
  char found[PATH_MAX];
  buffer_init(&out, TEXT_MAX);
  if (hub_model_path(path, found, &detail) && inspect_path(found, &stages, &out, &detail)) {
    return text_export(&out, json, &detail) || error_export(&detail, error);
  }
  buffer_release(&out);
  return error_export(&detail, error);
}

static void tokens_write(const struct tokenizer *tokenizer, const struct token_list *list, struct buffer *out) {
  buffer_text(out, "{\"tokens\":[");
  for (size_t i = 0; i < list->count; i++) {
    buffer_print(out, "%s{\"id\":%d,\"text\":", i ? "," : "", list->ids[i]);
    json_write_string(out, tokenizer_piece(tokenizer, list->ids[i]));
    buffer_text(out, "}");
  }
  buffer_text(out, "]}");
}

/* The work of one call: what is asked, whom to tell, where to write. */
struct tokenizing {
  spate_tokenize_options options; /* its model: the next */
  char model[PATH_MAX];
  struct build_progress progress;
  struct buffer out;
};

static bool text_encode(struct tokenizing *job, const struct tokenizer *tokenizer, struct error *error) {
  const spate_tokenize_options *o = &job->options;
  if (!progress_report(&job->progress, "tokenizer", 1, 1, error)) return false;
  struct token_list list;
  token_list_init(&list, o->text_size + 16);
  unsigned flags = ENCODE_PARSE_SPECIAL | (o->no_special ? 0 : (unsigned)ENCODE_ADD_SPECIAL);
  bool done = tokenizer_encode(tokenizer, slice_make(o->text, o->text_size), flags, &list, error);
  if (done) tokens_write(tokenizer, &list, &job->out);
  token_list_release(&list);
  return done && progress_report(&job->progress, "encode", o->text_size, o->text_size, error);
}

/* With the tokenizer that an engine file holds. */
static bool engine_tokenize(struct tokenizing *job, struct error *error) {
  struct engine_file file;
  if (!engine_file_open(&file, job->options.model, error)) return false;
  bool opened = progress_report(&job->progress, "open", 1, 1, error);
  struct tokenizer *tokenizer = opened ? tokenizer_open(file.tokenizer, error) : NULL;
  bool done = tokenizer && text_encode(job, tokenizer, error);
  tokenizer_close(tokenizer);
  engine_file_close(&file);
  return done;
}

/* With the tokenizer that a build of the checkpoint would compile: no weight is read. */
static bool checkpoint_tokenize(struct tokenizing *job, struct error *error) {
  struct draft draft;
  draft_init(&draft);
  bool done = draft_open(&draft, job->options.model, error) && progress_report(&job->progress, "open", 1, 1, error) &&
              draft_tokenizer(&draft, error) && text_encode(job, draft.tokenizer, error);
  draft_release(&draft);
  return done;
}

static bool tokenizing_run(struct tokenizing *job, struct error *error) {
  const spate_tokenize_options *o = &job->options;
  if (!o->model || (!o->text && o->text_size > 0))
    return error_set(error, ERROR_INVALID, "Tokenizing needs a model and a text.");
  if (!hub_model_path(o->model, job->model, error)) return false;
  job->options.model = job->model;
  job->progress = (struct build_progress){.report = o->progress, .user = o->user};
  return engine_file_detect(o->model) ? engine_tokenize(job, error) : checkpoint_tokenize(job, error);
}

bool spate_tokenize(const spate_tokenize_options *options, spate_text *json, spate_error *error) {
  struct error detail = {0};
  struct tokenizing job;
  buffer_init(&job.out, TEXT_MAX);
  if (tokenize_options_read(options, &job.options, &detail) && tokenizing_run(&job, &detail) &&
      text_export(&job.out, json, &detail))
    return true;
  buffer_release(&job.out);
  return error_export(&detail, error);
}
