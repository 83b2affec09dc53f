/* One mark a tile, and the text around it, tokenized as a whole; then each mark is repeated for the tile's rows. */
#include "runtime/image_form.h"

#include "engine/image_batch.h"
#include "engine/image_text.h"

enum { FORM_TEXT_MAX = 64 << 10 };

static const char written_mark[] = "<image>";

/* Tokens that processors write around the tiles of a picture that is split; one that a model lacks would be letters. */
static bool token_check(const struct tokenizer *tokenizer, const char *text, struct error *error) {
  if (tokenizer_find(tokenizer, slice_text(text)) >= 0) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "The model's pictures are split into tiles and its tokenizer has no token %s to stand around them.",
                   text);
}

static bool kind_check(const struct image_form *form, struct error *error) {
  switch (form->config.kind) {
  case PREPROCESS_WHOLE: return true;
  case PREPROCESS_SPLIT:
    return token_check(form->tokenizer, "<fake_token_around_image>", error) &&
           token_check(form->tokenizer, "<global-img>", error);
  default:
    return error_set(error, ERROR_UNSUPPORTED,
                     "The model's pictures are cut in a way whose tokens are not known here so far: it is served with "
                     "text alone.");
  }
}

bool image_form_init(struct image_form *form, struct slice preprocessor, const struct plan *vision,
                     const struct tokenizer *tokenizer, struct error *error) {
  *form = (struct image_form){.vision = vision, .tokenizer = tokenizer, .mark = vision->vision.mark};
  form->mark_text = tokenizer_piece(tokenizer, form->mark);
  if (preprocessor.size == 0)
    return error_set(error, ERROR_UNSUPPORTED,
                     "The engine was built of a model without preprocessor_config.json, which says what its pictures "
                     "become: build it again with that file beside config.json.");
  if (form->mark_text.size == 0 || tokenizer_find(tokenizer, form->mark_text) != form->mark)
    return error_set(error, ERROR_UNSUPPORTED, "The model's mark of an image, token %d, is none of its tokenizer.",
                     form->mark);
  return preprocess_config_parse(preprocessor, &form->config, error) && kind_check(form, error);
}

bool image_form_measure(const struct image_form *form, int width, int height, struct image_shape *shape,
                        struct error *error) {
  if (!preprocess_measure(&form->config, width, height, &shape->plan, error)) return false;
  int tile_width = shape->plan.tile_width, tile_height = shape->plan.tile_height;
  if (!image_batch_size_check(form->vision, tile_width, tile_height, error)) return false;
  shape->tile_rows = image_rows(form->vision, tile_width, tile_height);
  shape->tile_tokens = image_tokens(form->vision, tile_width, tile_height);
  return true;
}

/* --- prompts ------------------------------------------------------------------------------------------------------ */

static void mark_write(const struct image_form *form, struct buffer *out) {
  buffer_append(out, form->mark_text.data, form->mark_text.size);
}

/* A mark for each tile. */
static void tiles_write(const struct image_form *form, const struct preprocess_plan *plan, struct buffer *out) {
  const struct image_text_shape tiles = {.rows = plan->rows, .columns = plan->columns, .lines = 1, .across = 1};
  image_text_append(form->vision, form->mark_text, &tiles, out);
}

static bool tokens_repeat(const struct image_form *form, const struct image_shape *shape,
                          const struct token_list *written, struct token_list *out, struct error *error) {
  int32_t n_mark = 0;
  for (size_t i = 0; i < written->count; i++) {
    bool mark = written->ids[i] == form->mark;
    n_mark += mark;
    for (int32_t k = 0; k < (mark ? shape->tile_rows : 1); k++) token_list_append(out, written->ids[i]);
  }
  if (n_mark != shape->plan.tiles)
    return error_set(error, ERROR_INTERNAL, "An image of %d tiles has %d marks in its prompt.", shape->plan.tiles,
                     n_mark);
  return !out->failed ||
         error_set(error, ERROR_LIMIT,
                   "The prompt with its images has more than max_input_len %zu tokens: send fewer or smaller ones.",
                   out->max);
}

bool image_form_expand(const struct image_form *form, const struct image_shape *shape, struct token_list *out,
                       struct error *error) {
  struct buffer text;
  struct token_list written;
  buffer_init(&text, FORM_TEXT_MAX);
  token_list_init(&written, FORM_TEXT_MAX);
  if (form->config.kind == PREPROCESS_SPLIT)
    tiles_write(form, &shape->plan, &text);
  else
    mark_write(form, &text);
  bool done = !text.failed || error_set(error, ERROR_MEMORY, "Out of memory for the tokens of an image.");
  done = done && tokenizer_encode(form->tokenizer, buffer_slice(&text), ENCODE_PARSE_SPECIAL, &written, error) &&
         tokens_repeat(form, shape, &written, out, error);
  token_list_release(&written);
  buffer_release(&text);
  return done;
}

/* Where `mark` is next; text.size: nowhere. */
static size_t mark_find(struct slice text, struct slice mark) {
  const void *at = memmem(text.data, text.size, mark.data, mark.size);
  return at ? (size_t)((const uint8_t *)at - text.data) : text.size;
}

bool image_form_mark(const struct image_form *form, struct slice prompt, int n, struct buffer *out,
                     struct error *error) {
  struct slice written = slice_make(written_mark, sizeof written_mark - 1);
  bool marked = mark_find(prompt, written) < prompt.size || mark_find(prompt, form->mark_text) < prompt.size;
  for (int i = 0; i < n && !marked; i++) mark_write(form, out);
  while (prompt.size > 0) {
    size_t at = mark_find(prompt, written);
    bool found = at < prompt.size;
    buffer_append(out, prompt.data, at);
    if (found) mark_write(form, out);
    if (found) at += written.size;
    prompt = slice_make(prompt.data + at, prompt.size - at);
  }
  return !out->failed || error_set(error, ERROR_MEMORY, "Out of memory for a prompt.");
}
