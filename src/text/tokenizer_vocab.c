/* A GGUF vocabulary to a spec. GGUF gives SentencePiece vocabularies as scores instead of merges, and drops what marks
 * that a token of WordPiece continues a word. */
#include "text/charsmap.h"
#include "text/vocab_spec.h"

#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_named(const struct vocab_source *source, int32_t id) {
  return id == source->bos || id == source->eos || id == source->pad || id == source->eot || id == source->eom;
}

/* Files disagree on the types of markers: those that the file names as bos, eos... are markers whatever their type, as
 * are those that are known to end a turn, unless the token may be plain text (some vocabularies have a "</s>" that is).
 */
static int32_t token_type(const struct vocab_source *source, size_t id) {
  int32_t type = source->types ? source->types[id] : VOCAB_NORMAL;
  if (type != VOCAB_NORMAL && type != VOCAB_USER) return type;
  bool ends = spec_name_ends(source->tokens[id]) && (type == VOCAB_USER || slice_starts(source->tokens[id], "<|"));
  return ends || is_named(source, (int32_t)id) ? VOCAB_CONTROL : type;
}

/* Tokens that are looked for in the raw text as they are written. */
static bool read_added(struct tokenizer_spec *spec, uint32_t id, struct slice text, int32_t type, struct error *error) {
  struct slice copy = spec_copy(spec, text);
  if (!copy.data) return spec_out_of_memory(error);
  if (copy.size > LIMIT_ADDED_TOKEN_BYTES)
    return error_set(error, ERROR_LIMIT, "Token %u has %zu bytes, more than the %d allowed.", id, copy.size,
                     LIMIT_ADDED_TOKEN_BYTES);
  bool special = type != VOCAB_USER;
  spec->tokens[id] = (struct token_spec){.bytes = copy, .flags = special ? TOKEN_SPECIAL : 0};
  if (copy.size && utf8_valid(copy))
    spec->added[spec->n_added++] = (struct added_spec){copy, id, special ? ADDED_SPECIAL : 0};
  return true;
}

bool vocab_read_tokens(struct tokenizer_spec *spec, const struct vocab_source *source, struct error *error) {
  if (!spec_reserve_tokens(spec, source->n_token, error)) return false;
  spec->added = arena_array(&spec->arena, source->n_token, sizeof *spec->added);
  if (!spec->added) return spec_out_of_memory(error);
  for (uint32_t id = 0; id < source->n_token; id++) {
    int32_t type = token_type(source, id);
    bool as_written = type == VOCAB_CONTROL || type == VOCAB_UNKNOWN || type == VOCAB_USER;
    if (as_written ? !read_added(spec, id, source->tokens[id], type, error)
                   : !spec_text_token(spec, id, source->tokens[id], error))
      return false;
    if (type == VOCAB_UNUSED) spec->tokens[id].flags = 0;
  }
  return spec_index(spec, error);
}

static int32_t known_id(const struct vocab_source *source, int32_t id) {
  return id >= 0 && (size_t)id < source->n_token ? id : -1;
}

void vocab_read_special_ids(struct tokenizer_spec *spec, const struct vocab_source *source, bool add_bos) {
  spec->bos = known_id(source, source->bos);
  spec->eos = known_id(source, source->eos);
  spec->unk = known_id(source, source->unk);
  spec->pad = known_id(source, source->pad);
  spec_end(spec, spec->eos);
  spec_end(spec, source->eot);
  spec_end(spec, source->eom);
  spec_end_by_name(spec);
  if (source->add_bos != VOCAB_DEFAULT) add_bos = source->add_bos == VOCAB_YES;
  if (add_bos && spec->bos >= 0) spec->prefix[spec->n_prefix++] = spec->bos;
  if (source->add_eos == VOCAB_YES && spec->eos >= 0) spec->suffix[spec->n_suffix++] = spec->eos;
}

/* --- SentencePiece: merges from scores ------------------------------------------------------------------------ */

static int compare_scores_down(const void *left, const void *right) {
  float a = *(const float *)left, b = *(const float *)right;
  return (a < b) - (a > b);
}

/* ranks[id]: the place of the token's score among all distinct scores, the highest first. */
static bool score_ranks(struct tokenizer_spec *spec, const float *scores, uint32_t *ranks, struct error *error) {
  float *sorted = arena_array(&spec->arena, spec->n_token, sizeof *sorted);
  if (!sorted) return spec_out_of_memory(error);
  for (size_t id = 0; id < spec->n_token; id++) {
    if (scores[id] != scores[id]) return error_set(error, ERROR_FORMAT, "The score of token %zu is not a number.", id);
    sorted[id] = scores[id];
  }
  qsort(sorted, spec->n_token, sizeof *sorted, compare_scores_down);
  size_t distinct = 0;
  for (size_t i = 0; i < spec->n_token; i++)
    if (i == 0 || sorted[i] != sorted[distinct - 1]) sorted[distinct++] = sorted[i];
  for (size_t id = 0; id < spec->n_token; id++) {
    const float *place = bsearch(&scores[id], sorted, distinct, sizeof *sorted, compare_scores_down);
    ranks[id] = (uint32_t)(place - sorted);
  }
  return true;
}

/* Every way to cut a token into two tokens is a merge: stored, or only counted. */
static void token_merges(struct tokenizer_spec *spec, uint32_t id, uint32_t rank, bool store) {
  struct slice bytes = spec->tokens[id].bytes;
  for (size_t at = 1; at < bytes.size; at++) {
    if (!(spec->flags & MODEL_BYTE_LEVEL) && (bytes.data[at] & 0xC0) == 0x80) continue;
    uint32_t left = spec_find(spec, slice_make(bytes.data, at));
    if (left == TOKEN_NONE) continue;
    uint32_t right = spec_find(spec, slice_make(bytes.data + at, bytes.size - at));
    if (right == TOKEN_NONE) continue;
    if (store) spec->merges[spec->n_merge] = (struct merge_spec){left, right, id, rank};
    spec->n_merge++;
  }
}

bool vocab_merges_by_rank(struct tokenizer_spec *spec, const uint32_t *ranks, struct error *error) {
  for (int pass = 0; pass < 2; pass++) {
    if (pass == 1 && !spec_reserve_merges(spec, spec->n_merge, error)) return false;
    for (uint32_t id = 0; id < spec->n_token; id++)
      if (spec->tokens[id].flags & TOKEN_TEXT && spec_find(spec, spec->tokens[id].bytes) == id)
        token_merges(spec, id, ranks[id], pass == 1);
  }
  return true;
}

bool vocab_merges_from_scores(struct tokenizer_spec *spec, const float *scores, struct error *error) {
  uint32_t *ranks = arena_array(&spec->arena, spec->n_token, sizeof *ranks);
  if (!ranks) return spec_out_of_memory(error);
  return score_ranks(spec, scores, ranks, error) && vocab_merges_by_rank(spec, ranks, error);
}

static bool read_sentencepiece(struct tokenizer_spec *spec, const struct vocab_source *source, struct error *error) {
  if (!source->scores)
    return error_set(error, ERROR_FORMAT, "The vocabulary is of the kind 'llama' but has no tokenizer.ggml.scores.");
  snprintf(spec->name, sizeof spec->name, "SentencePiece BPE");
  bool prefix = source->add_space_prefix != VOCAB_NO;
  spec->flags = MODEL_BYTE_FALLBACK | MODEL_FUSE_UNKNOWN | MODEL_SPACE_MARKED | (prefix ? MODEL_STRIP_SPACE : 0u);
  if (!vocab_read_tokens(spec, source, error) || !vocab_merges_from_scores(spec, source->scores, error)) return false;
  if (spec_space_starts(spec)) spec->flags |= MODEL_SPACE_STARTS;
  vocab_read_special_ids(spec, source, true);
  struct step_spec prepend = {.kind = STEP_PREPEND, .a = slice_text(" ")};
  return (!prefix || spec_step(spec, prepend, error)) && spec_unmark_spaces(spec, error);
}

/* --- Unigram ---------------------------------------------------------------------------------------------------- */

bool vocab_scores(struct tokenizer_spec *spec, const float *scores, struct error *error) {
  spec->scores = arena_array(&spec->arena, spec->n_token, sizeof *spec->scores);
  if (!spec->scores) return spec_out_of_memory(error);
  for (size_t id = 0; id < spec->n_token; id++) {
    if (!isfinite(scores[id])) return error_set(error, ERROR_FORMAT, "The score of token %zu is not a number.", id);
    spec->scores[id] = (double)scores[id];
  }
  return true;
}

static bool unigram_steps(struct tokenizer_spec *spec, const struct vocab_source *source, struct error *error) {
  struct step_spec rules = {.kind = STEP_CHARSMAP, .mode = CHARSMAP_LONGEST, .a = source->charsmap};
  struct step_spec runs = {.kind = STEP_REPLACE_MATCHES, .a = slice_text(" {2,}"), .b = slice_text(" ")};
  struct step_spec ends = {.kind = STEP_STRIP, .mode = STRIP_LEFT | STRIP_RIGHT};
  struct step_spec prefix = {.kind = STEP_PREFIX, .mode = PREFIX_ALWAYS, .a = slice_text(" ")};
  struct step_spec words = {.kind = STEP_SPLIT, .mode = SPLIT_WITH_NEXT, .a = slice_text(" ")};
  if (source->charsmap.size > 0 && !charsmap_check(source->charsmap))
    return error_set(error, ERROR_FORMAT, "The vocabulary's tokenizer.ggml.precompiled_charsmap is not one.");
  if (source->charsmap.size > 0 && !spec_step(spec, rules, error)) return false;
  if (source->remove_extra_spaces && (!spec_step(spec, runs, error) || !spec_step(spec, ends, error))) return false;
  if (!spec_unmark_spaces(spec, error)) return false;
  bool prefixed = source->add_space_prefix != VOCAB_NO;
  return (!prefixed || spec_step(spec, prefix, error)) && spec_step(spec, words, error);
}

static bool read_unigram(struct tokenizer_spec *spec, const struct vocab_source *source, struct error *error) {
  if (!source->scores)
    return error_set(error, ERROR_FORMAT, "The vocabulary is of the kind 't5' but has no tokenizer.ggml.scores.");
  snprintf(spec->name, sizeof spec->name, "Unigram");
  spec->model = MODEL_UNIGRAM;
  spec->flags = MODEL_SPACE_MARKED | MODEL_STRIP_SPACE;
  if (!vocab_read_tokens(spec, source, error) || !vocab_scores(spec, source->scores, error)) return false;
  vocab_read_special_ids(spec, source, false);
  return unigram_steps(spec, source, error);
}

/* --- WordPiece -------------------------------------------------------------------------------------------------- */

static bool read_word_tokens(struct tokenizer_spec *spec, const struct vocab_source *source, struct error *error) {
  if (!vocab_read_tokens(spec, source, error)) return false;
  for (uint32_t id = 0; id < source->n_token; id++) {
    struct slice text = source->tokens[id];
    if (!(spec->tokens[id].flags & TOKEN_TEXT)) continue;
    bool begins = slice_starts(text, SPACE_MARK); /* converters write the beginning of a word so, and drop "##" */
    if (begins) text = slice_make(text.data + 3, text.size - 3);
    if (!spec_word_token(spec, id, text, begins, error)) return false;
  }
  return spec_index(spec, error);
}

/* Small letters and accents dropped, unless the file says otherwise; a text begins with [CLS], whichever of its
 * two names the file has for it, and ends with [SEP]: BERT's own ids where it has none. */
static bool read_wordpiece(struct tokenizer_spec *spec, const struct vocab_source *given, struct error *error) {
  enum { CLS = 101, SEP = 102 };
  struct vocab_source own = *given, *source = &own;
  if (own.bos < 0) own.bos = own.cls >= 0 ? own.cls : CLS;
  if (own.sep < 0) own.sep = own.eos >= 0 ? own.eos : SEP;
  snprintf(spec->name, sizeof spec->name, "WordPiece");
  spec->model = MODEL_WORDPIECE;
  spec->flags = MODEL_STRIP_SPACE;
  spec->word_chars = LIMIT_WORD_CHARS;
  struct bert_steps steps = {.clean = true, .space_cjk = true, .lower = own.lower != VOCAB_NO};
  steps.drop_marks = own.drop_marks == VOCAB_DEFAULT ? steps.lower : own.drop_marks == VOCAB_YES;
  if (!read_word_tokens(spec, source, error) || !spec_bert_normalizer(spec, steps, error)) return false;
  vocab_read_special_ids(spec, source, true);
  int32_t sep = known_id(source, source->sep);
  if (sep >= 0 && spec->n_suffix == 0 && source->add_eos != VOCAB_NO) spec->suffix[spec->n_suffix++] = sep;
  return spec_bert_splits(spec, error);
}

bool tokenizer_compile_vocab(const struct vocab_source *source, struct buffer *blob, struct error *error) {
  struct tokenizer_spec spec;
  spec_init(&spec);
  bool done = false;
  if (slice_is(source->model, "gpt2") || slice_is(source->model, "whitespace"))
    done = vocab_read_byte_level(&spec, source, source->pre, error);
  else if (slice_is(source->model, "gemma4"))
    done = vocab_read_byte_level(&spec, source, slice_text("gemma4"), error);
  else if (slice_is(source->model, "llama"))
    done = read_sentencepiece(&spec, source, error);
  else if (slice_is(source->model, "bert"))
    done = read_wordpiece(&spec, source, error);
  else if (slice_is(source->model, "t5"))
    done = read_unigram(&spec, source, error);
  else
    error_set(
        error, ERROR_UNSUPPORTED,
        "The vocabulary's kind (tokenizer.ggml.model) is '%.*s', which is not supported; gpt2 (byte-level BPE), "
        "whitespace and gemma4 (BPE of characters), llama (SentencePiece BPE), bert (WordPiece) and t5 (Unigram) are.",
        SLICE_ARGS(source->model));
  done = done && tokenizer_blob_write(&spec, blob, error);
  spec_release(&spec);
  return done;
}
