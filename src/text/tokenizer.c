/* The tokenizer of serving: a mapped blob, its compiled split patterns, and the way of a text through them:
 * added tokens of the raw text -> normalize -> added tokens of the normalized text -> split -> the model.
 * Immutable after opening; each call of tokenizer_encode has its own scratch. */
#include "text/tokenizer.h"

#include "base/utf8.h"
#include "text/added_tokens.h"
#include "text/byte_level.h"
#include "text/normalize.h"
#include "text/piece_encode.h"
#include "text/pretokenize.h"

#include <stdlib.h>

/* What happens to a piece, once: a change (STEP_KINDS: none), then splits. */
struct stage {
  enum step_kind change;
  enum prefix_mode mode;
  struct slice a, b;
  int first_split, n_split;
};

struct tokenizer {
  struct tokenizer_tables tables; /* borrows the blob */
  struct tokenizer_facts facts;
  struct added_set raw, normalized; /* added tokens by where they are looked for */
  int n_normalize;
  struct normalizer normalizers[LIMIT_TOKENIZER_STEPS]; /* the first steps of the tables */
  int n_stage;                                          /* at least one */
  struct stage stages[LIMIT_TOKENIZER_STEPS];
  int n_split;
  struct split_pattern splits[LIMIT_TOKENIZER_STEPS];
  bool asks_first; /* a step looks at where the whole text begins */
};

/* --- opening -------------------------------------------------------------------------------------------------- */

static void facts_init(struct tokenizer_facts *facts, const struct blob_header *header) {
  *facts = (struct tokenizer_facts){
      .n_vocab = header->n_token,
      .n_merge = header->n_merge,
      .n_added = header->n_added,
      .bos = header->bos,
      .eos = header->eos,
      .unk = header->unk,
      .pad = header->pad,
      .n_end = (int)header->n_end,
      .add_bos = header->n_prefix > 0,
      .add_eos = header->n_suffix > 0,
      .strip_leading_space = header->flags & MODEL_STRIP_SPACE ? header->strip_most : 0,
      .drop_trailing_space = header->flags & MODEL_SPACE_ENDS,
      .shows_last = header->flags & MODEL_SHOWS_LAST,
      .bare_start = header->flags & MODEL_BARE_START,
      .drop_repeats = header->flags & MODEL_DROP_REPEATS,
  };
  memcpy(facts->name, header->name, sizeof facts->name);
  memcpy(facts->end, header->end, sizeof facts->end);
}

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
static bool split_fits(const struct tokenizer *tokenizer, enum split_view view) {
  if (view == VIEW_BYTES || view == VIEW_LETTERS) return tokenizer->tables.header->flags & MODEL_BYTE_LEVEL;
  for (int i = tokenizer->n_stage - 1; i >= 0; i--) {
    const struct stage *stage = &tokenizer->stages[i];
    enum split_view before = stage->n_split ? tokenizer->splits[stage->first_split + stage->n_split - 1].view : VIEW_TEXT;
    if (before == VIEW_BYTES || before == VIEW_LETTERS) return false;
    if (stage->change == STEP_LETTERS) return true;
  }
  return true;
}

static bool split_open(struct tokenizer *tokenizer, const struct blob_step *step, struct error *error) {
  struct split_pattern *split = &tokenizer->splits[tokenizer->n_split];
  enum split_view view = step_view(step->kind);
  if (!split_fits(tokenizer, view)) return out_of_order(error);
  if (!split_pattern_open(split, tables_text(&tokenizer->tables, step->a), view, error)) return false;
  split->mode = step->mode;
  split->inverted = step->inverted;
  tokenizer->n_split++;
  tokenizer->stages[tokenizer->n_stage - 1].n_split++;
  return true;
}

static struct stage *stage_add(struct tokenizer *tokenizer, enum step_kind change) {
  struct stage *stage = &tokenizer->stages[tokenizer->n_stage++];
  *stage = (struct stage){.change = change, .first_split = tokenizer->n_split};
  return stage;
}

static void change_open(struct tokenizer *tokenizer, const struct blob_step *step) {
  struct stage *last = &tokenizer->stages[tokenizer->n_stage - 1];
  bool idle = last->change == STEP_KINDS && last->n_split == 0;
  if (idle) tokenizer->n_stage--;
  struct stage *stage = stage_add(tokenizer, (enum step_kind)step->kind);
  stage->mode = step->mode;
  stage->a = tables_text(&tokenizer->tables, step->a);
  stage->b = tables_text(&tokenizer->tables, step->b);
  tokenizer->asks_first |= step->kind == STEP_PREFIX && step->mode == PREFIX_FIRST;
}

static bool normalizer_add(struct tokenizer *tokenizer, const struct blob_step *step, struct error *error) {
  const struct tokenizer_tables *tables = &tokenizer->tables;
  struct normalizer *normalizer = &tokenizer->normalizers[tokenizer->n_normalize++];
  *normalizer =
      (struct normalizer){step->kind, step->mode, tables_text(tables, step->a), tables_text(tables, step->b), {0}};
  return normalizer_open(normalizer, error);
}

static bool step_splits(uint32_t kind) { return kind >= STEP_SPLIT && kind <= STEP_SPLIT_MARKED; }

static bool step_changes(uint32_t kind) {
  return kind == STEP_PREFIX || kind == STEP_PIECE_REPLACE || kind == STEP_LETTERS;
}

/* Steps come in the order normalize, pieces, affixes; anything else is no table of ours. */
static bool steps_open(struct tokenizer *tokenizer, struct error *error) {
  const struct tokenizer_tables *tables = &tokenizer->tables;
  bool pieces = false;
  stage_add(tokenizer, STEP_KINDS);
  for (uint32_t i = 0; i < tables->header->n_step; i++) {
    const struct blob_step *step = &tables->steps[i];
    if (step->kind == STEP_AFFIXES && i + 1 == tables->header->n_step) break;
    if (step_normalizes((enum step_kind)step->kind)) {
      if (pieces) return out_of_order(error);
      if (!normalizer_add(tokenizer, step, error)) return false;
      continue;
    }
    pieces = true;
    if (step_changes(step->kind))
      change_open(tokenizer, step);
    else if (!step_splits(step->kind))
      return out_of_order(error);
    else if (!split_open(tokenizer, step, error))
      return false;
  }
  return true;
}

struct tokenizer *tokenizer_open(struct slice blob, struct error *error) {
  struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
  if (!tokenizer) {
    error_set(error, ERROR_MEMORY, "No memory for a tokenizer.");
    return NULL;
  }
  if (!tables_open(&tokenizer->tables, blob, error) || !steps_open(tokenizer, error)) {
    tokenizer_close(tokenizer);
    return NULL;
  }
  facts_init(&tokenizer->facts, tokenizer->tables.header);
  added_set_init(&tokenizer->raw, &tokenizer->tables, false);
  added_set_init(&tokenizer->normalized, &tokenizer->tables, true);
  return tokenizer;
}

void tokenizer_close(struct tokenizer *tokenizer) {
  if (!tokenizer) return;
  for (int i = 0; i < tokenizer->n_normalize; i++) normalizer_close(&tokenizer->normalizers[i]);
  for (int i = 0; i < tokenizer->n_split; i++) split_pattern_close(&tokenizer->splits[i]);
  free(tokenizer);
}

/* --- encoding ------------------------------------------------------------------------------------------------- */

enum { CACHE_FROM_BYTES = 4096 }; /* a shorter text repeats too few words to pay for the cache's pages */

/* One call of tokenizer_encode. */
struct encoding {
  const struct tokenizer *tokenizer;
  struct special_guard guard;
  struct token_list *out;
  struct piece_scratch pieces;
  struct buffer normalized[2], changed[LIMIT_TOKENIZER_STEPS]; /* by stage */
  pcre2_match_data *match;
};

static bool list_full(const struct encoding *e, struct error *error) {
  if (!e->out->failed || e->out->count < e->out->max)
    return error_set(error, ERROR_MEMORY, "No memory to tokenize a text of this size.");
  return error_set(error, ERROR_LIMIT, "The text has more than the %zu tokens allowed; send a shorter one.",
                   e->out->max);
}

static bool encode_piece(void *context, struct slice piece, struct error *error) {
  struct encoding *e = context;
  return piece_encode(&e->tokenizer->tables, piece, &e->pieces, e->out) || list_full(e, error);
}

static bool encode_words(void *context, struct slice piece, struct error *error) {
  const struct piece_sink sink = {encode_piece, context};
  return pretokenize_words(piece, &sink, error);
}

static bool change_prefix(const struct stage *stage, struct slice *text, size_t *first, struct buffer *out) {
  struct slice prefix = stage->a;
  bool there = text->size >= prefix.size && memcmp(text->data, prefix.data, prefix.size) == 0;
  if (there || (stage->mode == PREFIX_FIRST && *first == 0)) return true;
  buffer_append(out, prefix.data, prefix.size);
  if (!buffer_append(out, text->data, text->size)) return false;
  *text = buffer_slice(out);
  *first += *first ? prefix.size : 0;
  return true;
}

static size_t replaced_size(const struct stage *stage, struct slice text) {
  size_t size = 0;
  for (size_t at = 0; at < text.size;) {
    bool match = text.size - at >= stage->a.size && memcmp(text.data + at, stage->a.data, stage->a.size) == 0;
    at += match ? stage->a.size : 1;
    size += match ? stage->b.size : 1;
  }
  return size;
}

static bool change_replace(struct encoding *e, const struct stage *stage, struct slice *text, size_t *first,
                           struct buffer *out, struct error *error) {
  const struct normalizer step = {.kind = STEP_REPLACE, .a = stage->a, .b = stage->b};
  *first = replaced_size(stage, slice_make(text->data, *first));
  return normalize_step(&step, e->match, *text, out, text, error);
}

/* Also of text that is split amid characters. */
static bool change_letters(struct slice *text, size_t *first, struct buffer *out) {
  uint8_t *room = buffer_reserve(out, 2 * text->size);
  if (!room) return false;
  *first = byte_level_encode(slice_make(text->data, *first), room);
  *text = slice_make(room, byte_level_encode(*text, room));
  return true;
}

/* The piece as the stage's change leaves it. The first `*first` bytes stand for the first character of the whole text. */
static bool stage_change(struct encoding *e, int at, struct slice *text, size_t *first, struct error *error) {
  const struct stage *stage = &e->tokenizer->stages[at];
  struct buffer *out = &e->changed[at];
  if (stage->change == STEP_KINDS) return true;
  buffer_clear(out);
  switch (stage->change) {
  case STEP_PREFIX: return change_prefix(stage, text, first, out) || list_full(e, error);
  case STEP_LETTERS: return change_letters(text, first, out) || list_full(e, error);
  default: return change_replace(e, stage, text, first, out, error);
  }
}

/* What takes the pieces of a stage to the next. */
struct stage_way {
  struct encoding *e;
  int next;
  const uint8_t *origin; /* of the text that is split */
  size_t first;
};

static bool stage_run(struct encoding *e, int at, struct slice text, size_t first, struct error *error);

static bool stage_take(void *context, struct slice piece, struct error *error) {
  const struct stage_way *way = context;
  size_t before = (size_t)(piece.data - way->origin);
  return stage_run(way->e, way->next, piece, before < way->first ? way->first - before : 0, error);
}

static bool stage_run(struct encoding *e, int at, struct slice text, size_t first, struct error *error) {
  const struct tokenizer *tokenizer = e->tokenizer;
  const struct stage *stage = &tokenizer->stages[at];
  if (!stage_change(e, at, &text, &first, error)) return false;
  struct stage_way way = {e, at + 1, text.data, first};
  bool words = tokenizer->tables.header->flags & MODEL_SPACE_STARTS, last = at + 1 == tokenizer->n_stage;
  const struct piece_sink sink = {last ? words ? encode_words : encode_piece : stage_take, last ? (void *)e : &way};
  return pretokenize(tokenizer->splits + stage->first_split, stage->n_split, e->match, text, &sink, error);
}

/* Text without added tokens; `first` as for stage_change. */
static bool encode_plain(struct encoding *e, struct slice text, size_t first, struct error *error) {
  return text.size == 0 || stage_run(e, 0, text, first, error);
}

/* How many bytes of what the step makes of text stand for its first `first` ones: none when they have gone, or when
 * they were replaced together with others. */
static bool first_follow(struct encoding *e, const struct normalizer *step, struct slice text, struct slice result,
                         size_t *first, struct error *error) {
  struct slice start = slice_make(text.data, *first), left;
  struct error failure = {0};
  size_t from = 0, end = 0;
  if (step->kind == STEP_STRIP) {
    size_t gone = (size_t)(result.data - text.data);
    *first = *first > gone ? *first - gone : 0;
    return true;
  }
  if (step->kind == STEP_REPLACE && text.size >= step->a.size && memcmp(text.data, step->a.data, step->a.size) == 0)
    end = step->a.size;
  if (step->kind == STEP_REPLACE_MATCHES &&
      (!split_pattern_next(&step->matches, e->match, text, 0, &from, &end, &failure) || from > 0))
    end = 0;
  if (end > *first) {
    *first = 0;
    return true;
  }
  struct buffer out;
  buffer_init(&out, LIMIT_NORMALIZED_BYTES);
  bool done = normalize_step(step, e->match, start, &out, &left, error);
  *first = left.size;
  buffer_release(&out);
  return done;
}

/* *first: as for stage_change, of the text and then of what it became. */
static bool normalize(struct encoding *e, struct slice *text, size_t *first, struct error *error) {
  int free_buffer = 0;
  for (int i = 0; i < e->tokenizer->n_normalize; i++) {
    const struct normalizer *step = &e->tokenizer->normalizers[i];
    struct slice result;
    if (!normalize_step(step, e->match, *text, &e->normalized[free_buffer], &result, error)) return false;
    if (e->tokenizer->asks_first && *first > 0 && !first_follow(e, step, *text, result, first, error)) return false;
    if (result.data == buffer_slice(&e->normalized[free_buffer]).data)
      free_buffer ^= 1; /* a step may also give a part of its text */
    *text = result;
  }
  return true;
}

static size_t first_size(struct slice text) {
  uint32_t code;
  return utf8_read(text, &code);
}

/* Text between added tokens of the raw text; parse_special: all of it may hold special tokens. */
static bool encode_stretch(struct encoding *e, struct slice text, bool begins, bool parse_special, struct error *error) {
  const struct special_guard guard = {.parse = parse_special};
  size_t first = begins ? first_size(text) : 0;
  if (!normalize(e, &text, &first, error)) return false;
  size_t at = 0, from = 0;
  struct added_match match;
  while (added_set_next(&e->tokenizer->normalized, text, from, at, &guard, &match)) {
    size_t left = first > at ? first - at : 0, size = match.start > at ? match.start - at : 0;
    if (!encode_plain(e, slice_make(text.data + at, size), left, error)) return false;
    if (!token_list_append(e->out, (int32_t)match.id)) return list_full(e, error);
    at = match.end;
    from = match.next;
  }
  return encode_plain(e, slice_make(text.data + at, text.size - at), first > at ? first - at : 0, error);
}

/* The same for [start, end) of the text. Normalizing loses the places of the guard's ranges: where a special token is
 * looked for after it, the stretch is cut at them. */
static bool encode_guarded(struct encoding *e, struct slice text, size_t start, size_t end, struct error *error) {
  const struct special_guard *guard = &e->guard;
  bool cuts = e->tokenizer->normalized.has_special && guard->parse;
  for (size_t at = start, range = 0; at < end;) {
    while (cuts && range < guard->n_plain && guard->plain[range].end <= at) range++;
    bool plain = cuts && range < guard->n_plain && guard->plain[range].start <= at;
    size_t next = end;
    if (cuts && range < guard->n_plain) next = plain ? guard->plain[range].end : guard->plain[range].start;
    if (next > end) next = end;
    if (!encode_stretch(e, slice_make(text.data + at, next - at), at == 0, guard->parse && !plain, error)) return false;
    at = next;
  }
  return true;
}

static bool encode_text(struct encoding *e, struct slice text, struct error *error) {
  size_t at = 0, from = 0;
  struct added_match match;
  while (added_set_next(&e->tokenizer->raw, text, from, at, &e->guard, &match)) {
    if (!encode_guarded(e, text, at, match.start, error)) return false;
    if (!token_list_append(e->out, (int32_t)match.id)) return list_full(e, error);
    at = match.end;
    from = match.next;
  }
  return encode_guarded(e, text, at, text.size, error);
}

static bool encode_around(struct encoding *e, const int32_t *ids, uint32_t count, struct error *error) {
  for (uint32_t i = 0; i < count; i++)
    if (!token_list_append(e->out, ids[i])) return list_full(e, error);
  return true;
}

static bool encoding_init(struct encoding *e, struct error *error) {
  buffer_init(&e->normalized[0], LIMIT_NORMALIZED_BYTES);
  buffer_init(&e->normalized[1], LIMIT_NORMALIZED_BYTES);
  for (int i = 0; i < e->tokenizer->n_stage; i++) buffer_init(&e->changed[i], LIMIT_NORMALIZED_BYTES);
  e->match = pcre2_match_data_create(1, NULL);
  return e->match || error_set(error, ERROR_MEMORY, "No memory to tokenize a text.");
}

static void encoding_release(struct encoding *e) {
  piece_scratch_release(&e->pieces);
  buffer_release(&e->normalized[0]);
  buffer_release(&e->normalized[1]);
  for (int i = 0; i < e->tokenizer->n_stage; i++) buffer_release(&e->changed[i]);
  pcre2_match_data_free(e->match);
}

bool tokenizer_encode(const struct tokenizer *tokenizer, struct slice text, unsigned flags, struct token_list *out,
                      struct error *error) {
  return tokenizer_encode_guarded(tokenizer, text, flags, NULL, 0, out, error);
}

bool tokenizer_encode_guarded(const struct tokenizer *tokenizer, struct slice text, unsigned flags,
                              const struct text_range *plain, size_t n_plain, struct token_list *out,
                              struct error *error) {
  if (!utf8_valid(text)) return error_set(error, ERROR_INVALID, "The text is not valid UTF-8.");
  const struct special_guard guard = {(flags & ENCODE_PARSE_SPECIAL) != 0, plain, n_plain};
  struct encoding e = {.tokenizer = tokenizer, .guard = guard, .out = out};
  if (text.size >= CACHE_FROM_BYTES) piece_scratch_cache(&e.pieces);
  const struct blob_header *header = tokenizer->tables.header;
  bool around = flags & ENCODE_ADD_SPECIAL;
  bool done = encoding_init(&e, error) && (!around || encode_around(&e, header->prefix, header->n_prefix, error)) &&
              encode_text(&e, text, error) && (!around || encode_around(&e, header->suffix, header->n_suffix, error));
  encoding_release(&e);
  return done;
}

/* --- facts ---------------------------------------------------------------------------------------------------- */

const struct tokenizer_facts *tokenizer_facts(const struct tokenizer *tokenizer) { return &tokenizer->facts; }

static bool id_known(const struct tokenizer *tokenizer, int32_t id) {
  return id >= 0 && (uint32_t)id < tokenizer->tables.header->n_token;
}

struct slice tokenizer_piece(const struct tokenizer *tokenizer, int32_t id) {
  return tokenizer_shown(tokenizer, id, false, false);
}

struct slice tokenizer_shown(const struct tokenizer *tokenizer, int32_t id, bool first, bool last) {
  const struct tokenizer_tables *tables = &tokenizer->tables;
  if (!id_known(tokenizer, id)) return slice_make("", 0);
  if (tables->shown && !(tables->token_flags[id] & TOKEN_SPECIAL))
    return tables_shown(tables, (uint32_t)id, (first ? PLACE_FIRST : 0u) | (last ? PLACE_LAST : 0u));
  struct slice piece = tables_piece(tables, (uint32_t)id);
  bool joins = tables->token_flags[id] & TOKEN_JOINS && piece.size > 0;
  return joins ? slice_make(piece.data + 1, piece.size - 1) : piece;
}

int32_t tokenizer_find(const struct tokenizer *tokenizer, struct slice text) {
  const struct tokenizer_tables *tables = &tokenizer->tables;
  for (uint32_t i = 0; i < tables->header->n_added; i++)
    if (slice_equal(tables_piece(tables, tables->added[i].id), text)) return (int32_t)tables->added[i].id;
  return (int32_t)tables_find(tables, text);
}

bool tokenizer_is_special(const struct tokenizer *tokenizer, int32_t id) {
  return id_known(tokenizer, id) && tokenizer->tables.token_flags[id] & TOKEN_SPECIAL;
}

bool tokenizer_continues(const struct tokenizer *tokenizer, int32_t id) {
  const struct tokenizer_tables *tables = &tokenizer->tables;
  if (tables->header->model != MODEL_WORDPIECE || tables->shown || !id_known(tokenizer, id)) return false;
  struct slice piece = tables_piece(tables, (uint32_t)id);
  return tables->token_flags[id] & TOKEN_TEXT && piece.size > 0 && piece.data[0] != ' ';
}

bool tokenizer_unseen(const struct tokenizer *tokenizer, int32_t id) {
  return id_known(tokenizer, id) && tokenizer->tables.token_flags[id] & TOKEN_UNSEEN;
}

bool tokenizer_opens(const struct tokenizer *tokenizer, int32_t id) {
  return id_known(tokenizer, id) && tokenizer->tables.token_flags[id] & TOKEN_OPENS;
}

bool tokenizer_is_end(const struct tokenizer *tokenizer, int32_t id) {
  for (int i = 0; i < tokenizer->facts.n_end; i++)
    if (tokenizer->facts.end[i] == id) return true;
  return false;
}
