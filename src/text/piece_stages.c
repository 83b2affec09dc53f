/* Stages: changes by hand, splits by pretokenize.c. */
#include "text/piece_stages.h"

#include "text/byte_level.h"
#include "text/normalize.h"

/* --- opening -------------------------------------------------------------------------------------------------- */

static bool out_of_order(struct error *error) {
  return error_set(error, ERROR_FORMAT,
                   "The compiled tokenizer is corrupt: its steps are out of order; build the engine again.");
}

static enum split_view step_view(uint32_t kind) {
  switch (kind) {
  case STEP_SPLIT_BYTES: return VIEW_BYTES;
  case STEP_SPLIT_LETTERS: return VIEW_LETTERS;
  case STEP_SPLIT_MARKED: return VIEW_MARKS;
  default: return VIEW_TEXT;
  }
}

/* A split between bytes may leave parts of characters, which only another such one and a byte-level model take. */
static bool split_fits(const struct piece_stages *stages, const struct tokenizer_tables *tables, enum split_view view) {
  if (view == VIEW_BYTES || view == VIEW_LETTERS) return tables->header->flags & MODEL_BYTE_LEVEL;
  for (int i = stages->count - 1; i >= 0; i--) {
    const struct piece_stage *stage = &stages->stages[i];
    enum split_view before = stage->n_split ? stages->splits[stage->first_split + stage->n_split - 1].view : VIEW_TEXT;
    if (before == VIEW_BYTES || before == VIEW_LETTERS) return false;
    if (stage->change == STEP_LETTERS) return true;
  }
  return true;
}

static bool split_open(struct piece_stages *stages, const struct tokenizer_tables *tables, const struct blob_step *step,
                       struct error *error) {
  struct split_pattern *split = &stages->splits[stages->n_split];
  enum split_view view = step_view(step->kind);
  if (!split_fits(stages, tables, view)) return out_of_order(error);
  if (!split_pattern_open(split, tables_text(tables, step->a), view, error)) return false;
  split->mode = step->mode;
  split->inverted = step->inverted;
  stages->n_split++;
  stages->stages[stages->count - 1].n_split++;
  return true;
}

static struct piece_stage *stage_add(struct piece_stages *stages, enum step_kind change) {
  struct piece_stage *stage = &stages->stages[stages->count++];
  *stage = (struct piece_stage){.change = change, .first_split = stages->n_split};
  return stage;
}

static void change_add(struct piece_stages *stages, const struct tokenizer_tables *tables,
                       const struct blob_step *step) {
  struct piece_stage *last = &stages->stages[stages->count - 1];
  bool idle = last->change == STEP_KINDS && last->n_split == 0;
  if (idle) stages->count--;
  struct piece_stage *stage = stage_add(stages, (enum step_kind)step->kind);
  stage->mode = step->mode;
  stage->a = tables_text(tables, step->a);
  stage->b = tables_text(tables, step->b);
  stages->asks_first |= step->kind == STEP_PREFIX && step->mode == PREFIX_FIRST;
}

static bool step_changes(uint32_t kind) {
  return kind == STEP_PREFIX || kind == STEP_PIECE_REPLACE || kind == STEP_LETTERS;
}

static bool step_splits(uint32_t kind) { return kind >= STEP_SPLIT && kind <= STEP_SPLIT_MARKED; }

void piece_stages_init(struct piece_stages *stages) {
  *stages = (struct piece_stages){0};
  stage_add(stages, STEP_KINDS);
}

void piece_stages_close(struct piece_stages *stages) {
  for (int i = 0; i < stages->n_split; i++) split_pattern_close(&stages->splits[i]);
}

bool piece_stages_add(struct piece_stages *stages, const struct tokenizer_tables *tables, const struct blob_step *step,
                      struct error *error) {
  if (step_splits(step->kind)) return split_open(stages, tables, step, error);
  if (!step_changes(step->kind)) return out_of_order(error);
  change_add(stages, tables, step);
  return true;
}

/* --- running -------------------------------------------------------------------------------------------------- */

static bool change_prefix(const struct piece_stage *stage, struct slice *text, size_t *first, struct buffer *out) {
  struct slice prefix = stage->a;
  bool there = text->size >= prefix.size && memcmp(text->data, prefix.data, prefix.size) == 0;
  if (there || (stage->mode == PREFIX_FIRST && *first == 0)) return true;
  buffer_append(out, prefix.data, prefix.size);
  if (!buffer_append(out, text->data, text->size)) return false;
  *text = buffer_slice(out);
  *first += *first ? prefix.size : 0;
  return true;
}

static size_t replaced_size(const struct piece_stage *stage, struct slice text) {
  size_t size = 0;
  for (size_t at = 0; at < text.size;) {
    bool match = text.size - at >= stage->a.size && memcmp(text.data + at, stage->a.data, stage->a.size) == 0;
    at += match ? stage->a.size : 1;
    size += match ? stage->b.size : 1;
  }
  return size;
}

static bool change_replace(struct stage_run *run, const struct piece_stage *stage, struct slice *text, size_t *first,
                           struct buffer *out, struct error *error) {
  const struct normalizer step = {.kind = STEP_REPLACE, .a = stage->a, .b = stage->b};
  *first = replaced_size(stage, slice_make(text->data, *first));
  return normalize_step(&step, run->match, *text, out, text, error);
}

/* Also of text that is split amid characters. */
static bool change_letters(struct slice *text, size_t *first, struct buffer *out) {
  uint8_t *room = buffer_reserve(out, 2 * text->size);
  if (!room) return false;
  *first = byte_level_encode(slice_make(text->data, *first), room);
  *text = slice_make(room, byte_level_encode(*text, room));
  return true;
}

static bool out_of_memory(struct error *error) {
  return error_set(error, ERROR_MEMORY, "No memory to tokenize a text of this size.");
}

static bool change_piece(struct stage_run *run, int at, struct slice *text, size_t *first, struct error *error) {
  const struct piece_stage *stage = &run->stages->stages[at];
  struct buffer *out = &run->changed[at];
  buffer_clear(out);
  switch (stage->change) {
  case STEP_PREFIX: return change_prefix(stage, text, first, out) || out_of_memory(error);
  case STEP_LETTERS: return change_letters(text, first, out) || out_of_memory(error);
  default: return change_replace(run, stage, text, first, out, error);
  }
}

/* The piece as the stage's change leaves it; *first as for stage_run_text. */
static bool stage_change(struct stage_run *run, int at, struct slice *text, size_t *first, struct error *error) {
  size_t before = text->size;
  if (run->stages->stages[at].change == STEP_KINDS) return true;
  if (!change_piece(run, at, text, first, error)) return false;
  run->grown += text->size > before ? text->size - before : 0;
  return run->grown <= LIMIT_NORMALIZED_BYTES ||
         error_set(error, ERROR_LIMIT, "Changing the pieces of the text makes them larger by more than %d bytes.",
                   LIMIT_NORMALIZED_BYTES);
}

/* What takes the pieces of a stage to the next. */
struct stage_way {
  struct stage_run *run;
  int next;
  const uint8_t *origin; /* of the text that is split */
  size_t first;
};

static bool stage_take(void *context, struct slice piece, struct error *error);

/* A split may cut what stands for the first character: `first` may be more than the piece. */
static bool run_from(struct stage_run *run, int at, struct slice text, size_t first, struct error *error) {
  const struct piece_stages *stages = run->stages;
  const struct piece_stage *stage = &stages->stages[at];
  if (first > text.size) first = text.size;
  if (!stage_change(run, at, &text, &first, error)) return false;
  struct stage_way way = {run, at + 1, text.data, first};
  const struct piece_sink next = {stage_take, &way}, *sink = at + 1 == stages->count ? &run->sink : &next;
  return pretokenize(stages->splits + stage->first_split, stage->n_split, run->match, text, sink, error);
}

static bool stage_take(void *context, struct slice piece, struct error *error) {
  const struct stage_way *way = context;
  size_t before = (size_t)(piece.data - way->origin);
  return run_from(way->run, way->next, piece, before < way->first ? way->first - before : 0, error);
}

bool stage_run_text(struct stage_run *run, struct slice text, size_t first, struct error *error) {
  return text.size == 0 || run_from(run, 0, text, first, error);
}

void stage_run_init(struct stage_run *run, const struct piece_stages *stages, struct split_match *match,
                    struct piece_sink sink) {
  run->stages = stages;
  run->match = match;
  run->sink = sink;
  run->grown = 0;
  for (int i = 0; i < stages->count; i++) buffer_init(&run->changed[i], LIMIT_NORMALIZED_BYTES);
}

void stage_run_release(struct stage_run *run) {
  for (int i = 0; run->stages && i < run->stages->count; i++) buffer_release(&run->changed[i]);
}
