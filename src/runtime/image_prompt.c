/* Texts are walked once from place to place; tokens once from mark to mark. */
#include "runtime/image_prompt.h"

#include "base/limits.h"
#include "engine/image_tiles.h"

#include <stdlib.h>
#include <string.h>

enum { WRITTEN_MAX = 64 << 20 }; /* bytes of a prompt with what is written for its pictures */

static const char written_mark[] = "<image>";

static bool prompt_memory(struct error *error) { return error_set(error, ERROR_MEMORY, "Out of memory for a prompt."); }

/* --- raw prompts -------------------------------------------------------------------------------------------------- */

/* Where `mark` is next, from `at` on; text.size: nowhere. */
static size_t mark_find(struct slice text, size_t at, struct slice mark) {
  const void *found = memmem(text.data + at, text.size - at, mark.data, mark.size);
  return found ? (size_t)((const uint8_t *)found - text.data) : text.size;
}

static void place_write(const struct image_form *form, struct buffer *out) {
  buffer_append(out, form->before.data, form->before.size);
  buffer_append(out, form->place_text.data, form->place_text.size);
  buffer_append(out, form->behind.data, form->behind.size);
}

bool image_prompt_mark(const struct image_form *form, struct slice prompt, int n, struct buffer *out,
                       struct error *error) {
  struct slice written = slice_make(written_mark, sizeof written_mark - 1);
  bool own = form->place_text.size == written.size && memcmp(form->place_text.data, written.data, written.size) == 0;
  bool marked = mark_find(prompt, 0, written) < prompt.size || mark_find(prompt, 0, form->place_text) < prompt.size;
  size_t from = 0, place = form->before.size + form->place_text.size + form->behind.size;
  out->max = prompt.size + (prompt.size / written.size + (size_t)n) * place;
  for (int i = 0; i < n && !marked; i++) place_write(form, out);
  for (size_t at; !own && (at = mark_find(prompt, from, written)) < prompt.size; from = at + written.size) {
    buffer_append(out, prompt.data + from, at - from);
    place_write(form, out);
  }
  buffer_append(out, prompt.data + from, prompt.size - from);
  return !out->failed || prompt_memory(error);
}

/* --- texts -------------------------------------------------------------------------------------------------------- */

/* A text on the way from place to place. */
struct place_walk {
  struct slice text;
  const struct chat_text *from;
  size_t at, plain; /* bytes; ranges that end before them */
};

/* Does a user's text touch the bytes? They come in order. */
static bool walk_plain(struct place_walk *walk, size_t start, size_t end) {
  const struct text_range *plain = walk->from->plain;
  while (walk->plain < walk->from->n_plain && plain[walk->plain].end <= start) walk->plain++;
  return walk->plain < walk->from->n_plain && plain[walk->plain].start < end;
}

/* The next place that is no user's; false: there is none. */
static bool walk_next(struct place_walk *walk, struct slice place, size_t *found) {
  for (size_t at; (at = mark_find(walk->text, walk->at, place)) < walk->text.size;) {
    bool plain = walk_plain(walk, at, at + place.size);
    walk->at = plain ? at + 1 : at + place.size;
    *found = at;
    if (!plain) return true;
  }
  return false;
}

static struct place_walk walk_of(const struct chat_text *text) {
  return (struct place_walk){.text = buffer_slice(&text->text), .from = text};
}

bool image_prompt_check(const struct image_form *form, const struct chat_text *text, int32_t n, struct error *error) {
  struct place_walk walk = walk_of(text);
  int32_t count = 0;
  for (size_t at; walk_next(&walk, form->place_text, &at);) count++;
  return count == n ||
         error_set(error, ERROR_INVALID,
                   "The prompt has %d marks for images (%.*s) and %d images were sent: write one for each, or none.",
                   count, SLICE_ARGS(form->place_text), n);
}

/* Ranges behind a place move with what was written there: one that is copied has `moved` added. */
static void ranges_copy(const struct chat_text *from, size_t until, size_t moved, struct chat_text *to) {
  for (; to->n_plain < from->n_plain && from->plain[to->n_plain].start < until; to->n_plain++) {
    const struct text_range *range = &from->plain[to->n_plain];
    to->plain[to->n_plain] = (struct text_range){range->start + moved, range->end + moved};
  }
}

bool image_prompt_write(const struct image_form *form, const struct chat_text *text,
                        const struct image_shape *const *shape, int32_t n, struct chat_text *out, struct error *error) {
  struct place_walk walk = walk_of(text);
  size_t from = 0;
  out->text.max = WRITTEN_MAX;
  out->plain = calloc(text->n_plain + 1, sizeof *out->plain);
  if (!out->plain) return prompt_memory(error);
  for (int32_t i = 0; i <= n; i++) {
    size_t at = walk.text.size;
    if (i < n) walk_next(&walk, form->place_text, &at);
    ranges_copy(text, at, out->text.size - from, out);
    buffer_append(&out->text, walk.text.data + from, at - from);
    if (i < n) image_text_append(form->vision, form->mark_text, &shape[i]->text, &out->text);
    from = at + form->place_text.size;
  }
  return !out->text.failed || prompt_memory(error);
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static bool layout_new(const struct image_shape *const *shape, int32_t n, size_t n_token, struct image_layout *layout) {
  int64_t tiles = 0;
  for (int32_t i = 0; i < n; i++) tiles += shape[i]->plan.tiles;
  *layout = (struct image_layout){.span = calloc((size_t)n, sizeof *layout->span),
                                  .image = calloc((size_t)tiles, sizeof *layout->image),
                                  .embed = malloc((n_token + 1) * sizeof *layout->embed)};
  return layout->span && layout->image && layout->embed;
}

void image_layout_release(struct image_layout *layout) {
  free(layout->span);
  free(layout->image);
  free(layout->embed);
  *layout = (struct image_layout){0};
}

/* Which row each of a picture's marks is. */
static int32_t *rows_of(const struct image_form *form, const struct image_shape *shape) {
  const struct image_text_shape *t = &shape->text;
  const struct image_tiles tiles = {t->rows, t->columns, t->lines, t->width, t->height};
  int32_t *row = malloc((size_t)shape->marks * sizeof *row);
  bool packed = form->vision->vision.text == TEXT_TILES;
  if (row && packed) image_tiles_rows(&tiles, row);
  for (int32_t i = 0; row && i < shape->marks; i++) {
    if (!packed) row[i] = i;
    if (row[i] == IMAGE_BREAK) row[i] = EMBED_OWN;
  }
  return row;
}

/* The picture's marks from token `at` on; where the next picture's may begin. */
static bool picture_place(const struct image_form *form, const struct image_shape *shape,
                          const struct token_list *tokens, struct sequence_span *span, size_t *at,
                          struct image_layout *layout) {
  const struct plan_vision *v = &form->vision->vision;
  int32_t *row = rows_of(form, shape), n = 0;
  if (!row) return false;
  for (; n < shape->marks && *at < tokens->count; ++*at) {
    if (tokens->ids[*at] != form->mark) continue;
    if (n == 0) span->first = (int32_t)*at;
    if ((v->axes || v->mutual) && n % shape->tile_rows == 0)
      layout->image[layout->n_image++] = (struct image_span){(int32_t)*at, shape->text.lines, shape->text.across};
    layout->embed[*at] = row[n++];
  }
  span->count = (int32_t)*at - span->first;
  free(row);
  return true;
}

bool image_prompt_place(const struct image_form *form, const struct image_shape *const *shape, int32_t n,
                        const struct token_list *tokens, struct image_layout *layout, struct error *error) {
  size_t at = 0;
  int64_t marks = 0, found = 0;
  if (!layout_new(shape, n, tokens->count, layout)) return prompt_memory(error);
  for (size_t i = 0; i < tokens->count; i++) found += tokens->ids[i] == form->mark, layout->embed[i] = EMBED_NONE;
  for (int32_t i = 0; i < n; i++) marks += shape[i]->marks;
  if (found != marks)
    return error_set(error, ERROR_INVALID,
                     "The prompt has %lld tokens %.*s where its images are %lld: they are not to be written by hand.",
                     (long long)found, SLICE_ARGS(form->mark_text), (long long)marks);
  for (int32_t i = 0; i < n; i++)
    if (!picture_place(form, shape[i], tokens, &layout->span[i], &at, layout)) return prompt_memory(error);
  return true;
}
