/* The tokenizer of serving: a mapped blob, its compiled split patterns, and the way of a text through them:
 * added tokens of the raw text -> normalize -> added tokens of the normalized text -> split -> the model.
 * Immutable after opening; each call of tokenizer_encode has its own scratch. */
#include "text/tokenizer.h"

#include "base/utf8.h"
#include "text/added_tokens.h"
#include "text/normalize.h"
#include "text/piece_encode.h"
#include "text/piece_stages.h"

#include <stdlib.h>

struct tokenizer {
  struct tokenizer_tables tables; /* borrows the blob */
  struct tokenizer_facts facts;
  struct added_set raw, normalized; /* added tokens by where they are looked for */
  int n_normalize;
  struct normalizer normalizers[LIMIT_TOKENIZER_STEPS]; /* the first steps of the tables */
  struct piece_stages stages;                           /* then those of pieces */
  struct text_changes changes;                          /* and of decoding */
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

static bool normalizer_add(struct tokenizer *tokenizer, const struct blob_step *step, struct error *error) {
  const struct tokenizer_tables *tables = &tokenizer->tables;
  struct normalizer *normalizer = &tokenizer->normalizers[tokenizer->n_normalize++];
  *normalizer =
      (struct normalizer){step->kind, step->mode, tables_text(tables, step->a), tables_text(tables, step->b), {0}};
  return normalizer_open(normalizer, error);
}

static bool text_change_add(struct tokenizer *tokenizer, const struct blob_step *step, struct error *error) {
  struct text_changes *changes = &tokenizer->changes;
  struct text_change change = {tables_text(&tokenizer->tables, step->a), tables_text(&tokenizer->tables, step->b)};
  bool fine = step->kind == STEP_TEXT_CHANGE && changes->count < LIMIT_TEXT_CHANGES && text_change_fits(&change);
  if (fine) changes->changes[changes->count++] = change;
  return fine || error_set(error, ERROR_FORMAT,
                           "The compiled tokenizer is corrupt: a change of texts is none; build the engine again.");
}

/* Steps come in the order normalize, pieces, decoding, affixes; anything else is no table of ours. */
static bool steps_open(struct tokenizer *tokenizer, struct error *error) {
  const struct tokenizer_tables *tables = &tokenizer->tables;
  uint32_t count = tables->header->n_step, i = 0;
  if (count > 0 && tables->steps[count - 1].kind == STEP_AFFIXES) count--;
  for (; i < count && step_normalizes((enum step_kind)tables->steps[i].kind); i++)
    if (!normalizer_add(tokenizer, &tables->steps[i], error)) return false;
  for (; i < count && tables->steps[i].kind != STEP_TEXT_CHANGE; i++)
    if (!piece_stages_add(&tokenizer->stages, tables, &tables->steps[i], error)) return false;
  for (; i < count; i++)
    if (!text_change_add(tokenizer, &tables->steps[i], error)) return false;
  return true;
}

struct tokenizer *tokenizer_open(struct slice blob, struct error *error) {
  struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
  if (!tokenizer) {
    error_set(error, ERROR_MEMORY, "No memory for a tokenizer.");
    return NULL;
  }
  piece_stages_init(&tokenizer->stages);
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
  piece_stages_close(&tokenizer->stages);
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
  struct buffer normalized[2];
  struct stage_run stages;
  struct split_match match;
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

/* *first: as for stage_run_text, of the text and then of what it became. */
static bool normalize(struct encoding *e, struct slice *text, size_t *first, struct error *error) {
  int free_buffer = 0;
  for (int i = 0; i < e->tokenizer->n_normalize; i++) {
    const struct normalizer *step = &e->tokenizer->normalizers[i];
    struct slice result;
    if (!normalize_step(step, &e->match, *text, &e->normalized[free_buffer], &result, error)) return false;
    if (e->tokenizer->stages.asks_first && *first > 0 && !normalize_first(step, &e->match, *text, result, first, error))
      return false;
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
static bool encode_stretch(struct encoding *e, struct slice text, bool begins, bool parse_special,
                           struct error *error) {
  const struct special_guard guard = {.parse = parse_special};
  size_t first = begins ? first_size(text) : 0;
  if (!normalize(e, &text, &first, error)) return false;
  if (text.size == 0) return true;
  size_t at = 0, from = 0;
  struct added_match match = {0};
  while (added_set_next(&e->tokenizer->normalized, text, from, at, &guard, &match)) {
    size_t left = first > at ? first - at : 0, size = match.start > at ? match.start - at : 0;
    if (!stage_run_text(&e->stages, slice_make(text.data + at, size), left, error)) return false;
    if (!token_list_append(e->out, (int32_t)match.id)) return list_full(e, error);
    at = match.end;
    from = match.next;
  }
  return stage_run_text(&e->stages, slice_make(text.data + at, text.size - at), first > at ? first - at : 0, error);
}

/* The same for [start, end) of the text. Normalizing loses the places of the guard's ranges: where a special token is
 * looked for after it, the stretch is cut at them. */
static bool encode_guarded(struct encoding *e, struct slice text, size_t start, size_t end, struct error *error) {
  const struct special_guard *guard = &e->guard;
  bool cuts = e->tokenizer->normalized.has_special && guard->parse;
  for (size_t at = start; at < end;) {
    size_t range = cuts ? special_guard_range(guard, at) : 0;
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
  struct added_match match = {0};
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
  bool words = e->tokenizer->tables.header->flags & MODEL_SPACE_STARTS;
  stage_run_init(&e->stages, &e->tokenizer->stages, &e->match,
                 (struct piece_sink){words ? encode_words : encode_piece, e});
  return split_match_init(&e->match) || error_set(error, ERROR_MEMORY, "No memory to tokenize a text.");
}

static void encoding_release(struct encoding *e) {
  piece_scratch_release(&e->pieces);
  buffer_release(&e->normalized[0]);
  buffer_release(&e->normalized[1]);
  stage_run_release(&e->stages);
  split_match_release(&e->match);
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

const struct text_changes *tokenizer_text_changes(const struct tokenizer *tokenizer) { return &tokenizer->changes; }

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
