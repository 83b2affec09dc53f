/* A SentencePiece model to a spec. */
#include "text/vocab_files.h"

#include "base/json.h"
#include "format/sentencepiece.h"
#include "text/charsmap.h"
#include "text/tokenizer_json.h"
#include "text/vocab_spec.h"

#include <stdio.h>

/* A model, and its pieces as a vocabulary, to which the config may have added tokens. */
struct piece_vocab {
  struct sentencepiece model;
  struct vocab_source source;
  struct slice *tokens; /* of source, as are the next two */
  int32_t *types;
  float *scores;
};

/* The pieces, and room for tokens that the config adds, up to `count`. */
static bool take_pieces(struct piece_vocab *vocab, struct tokenizer_spec *spec, size_t count, struct error *error) {
  const struct sentencepiece *model = &vocab->model;
  vocab->tokens = arena_array(&spec->arena, count + 1, sizeof *vocab->tokens);
  vocab->types = arena_array(&spec->arena, count + 1, sizeof *vocab->types);
  vocab->scores = arena_array(&spec->arena, count + 1, sizeof *vocab->scores);
  if (!vocab->tokens || !vocab->types || !vocab->scores) return spec_out_of_memory(error);
  for (size_t id = 0; id < count; id++) {
    bool is_piece = id < model->n_piece;
    vocab->tokens[id] = is_piece ? model->pieces[id].text : slice_make("", 0);
    vocab->types[id] = is_piece ? model->pieces[id].type : VOCAB_UNUSED;
    vocab->scores[id] = is_piece ? model->pieces[id].score : 0;
  }
  vocab->source = (struct vocab_source){.n_token = count,
                                        .tokens = vocab->tokens,
                                        .types = vocab->types,
                                        .scores = vocab->scores,
                                        .unk = model->unk,
                                        .bos = model->bos,
                                        .eos = model->eos,
                                        .pad = model->pad,
                                        .eot = -1,
                                        .eom = -1,
                                        .sep = -1,
                                        .cls = -1};
  return true;
}

/* --- rules ------------------------------------------------------------------------------------------------------ */

/* Its normalizer, in its order (of the spaces that a text writes as marks it drops those at the end): the characters'
 * rules, runs and ends of spaces, the space in front, or behind where words end with theirs. */
static bool normalizing_steps(struct tokenizer_spec *spec, const struct sentencepiece *model, struct error *error) {
  struct step_spec rules = {.kind = STEP_CHARSMAP, .mode = CHARSMAP_LONGEST, .a = model->charsmap};
  struct step_spec runs = {.kind = STEP_REPLACE_MATCHES, .a = slice_text(" {2,}"), .b = slice_text(" ")};
  struct step_spec first = {.kind = STEP_REPLACE_MATCHES, .a = slice_text("\\A +"), .b = slice_text("")};
  struct step_spec last = {.kind = STEP_REPLACE_MATCHES, .a = slice_text("[ \\x{2581}]+\\z"), .b = slice_text("")};
  struct step_spec space = {.kind = STEP_PREPEND, .a = slice_text(" ")};
  if (model->suffix_spaces) space.mode = PREPEND_BEHIND;
  if (model->charsmap.size > 0 && !charsmap_check(model->charsmap))
    return error_set(error, ERROR_FORMAT, "The SentencePiece model's precompiled_charsmap is not one.");
  if (model->charsmap.size > 0 && !spec_step(spec, rules, error)) return false;
  if (model->remove_spaces &&
      (!spec_step(spec, first, error) || !spec_step(spec, last, error) || !spec_step(spec, runs, error)))
    return false;
  return spec_unmark_spaces(spec, error) && (!model->prefix_space || spec_step(spec, space, error));
}

static bool check_rules(const struct sentencepiece *model, struct error *error) {
  if (model->kind < SENTENCEPIECE_UNIGRAM || model->kind > SENTENCEPIECE_CHAR || model->kind == SENTENCEPIECE_WORD)
    return error_set(error, ERROR_UNSUPPORTED,
                     "The SentencePiece model is of the kind %llu (3: WORD); UNIGRAM, BPE and CHAR are supported.",
                     (unsigned long long)model->kind);
  return model->escape_spaces ||
         error_set(error, ERROR_UNSUPPORTED,
                   "The SentencePiece model writes spaces as no model does that Spate knows (escape_whitespaces is "
                   "off); save its tokenizer.json.");
}

/* --- tokenizer_config.json --------------------------------------------------------------------------------------- */

/* What classes of transformers put around a text whose ids are those of the file. */
static bool around_by_class(struct vocab_source *source, const json_t *config, bool unigram, struct error *error) {
  static const struct {
    const char *name;
    bool bos, eos;
  } classes[] = {{"LlamaTokenizer", true, false},     {"LlamaTokenizerFast", true, false},
                 {"GemmaTokenizer", true, false},     {"GemmaTokenizerFast", true, false},
                 {"CodeLlamaTokenizer", true, false}, {"CodeLlamaTokenizerFast", true, false},
                 {"T5Tokenizer", false, true},        {"T5TokenizerFast", false, true}};
  struct slice name = json_take_text(config, "tokenizer_class");
  bool bos = !unigram, eos = unigram, known = !name.data;
  for (size_t i = 0; i < sizeof classes / sizeof *classes && !known; i++) {
    known = slice_is(name, classes[i].name);
    bos = classes[i].bos;
    eos = classes[i].eos;
  }
  if (!known)
    return error_set(
        error, ERROR_UNSUPPORTED,
        "The tokenizer_config.json names the class %.*s, which changes what tokenizer.model says; save the "
        "model's tokenizer.json.",
        SLICE_ARGS(name));
  source->add_bos = json_take_bool(config, "add_bos_token", bos) ? VOCAB_YES : VOCAB_NO;
  source->add_eos = json_take_bool(config, "add_eos_token", eos) ? VOCAB_YES : VOCAB_NO;
  return true;
}

/* --- whole ------------------------------------------------------------------------------------------------------ */

/* Pieces that the user defined are found in the normalized text, whose spaces they have as marks. */
static void mark_user_pieces(struct tokenizer_spec *spec, const struct sentencepiece *model) {
  for (size_t i = 0; i < spec->n_added; i++) {
    struct added_spec *added = &spec->added[i];
    if (added->id >= model->n_piece || (added->flags & ADDED_SPECIAL)) continue;
    struct slice text = spec_replaced(spec, added->text, SPACE_MARK, " ");
    if (!text.data) continue;
    added->text = spec->tokens[added->id].bytes = text;
    added->flags |= ADDED_NORMALIZED;
  }
}

/* Characters are symbols that never merge. */
static bool read_scores(struct tokenizer_spec *spec, const struct piece_vocab *vocab, struct error *error) {
  switch (vocab->model.kind) {
  case SENTENCEPIECE_UNIGRAM: return vocab_scores(spec, vocab->scores, error);
  case SENTENCEPIECE_CHAR: return spec_reserve_merges(spec, 0, error);
  default: return vocab_merges_from_scores(spec, vocab->scores, error);
  }
}

static bool read_model(struct tokenizer_spec *spec, const struct piece_vocab *vocab, struct error *error) {
  const struct sentencepiece *model = &vocab->model;
  bool unigram = model->kind == SENTENCEPIECE_UNIGRAM, in_front = model->prefix_space && !model->suffix_spaces;
  const char *kind = unigram ? "Unigram" : model->kind == SENTENCEPIECE_BPE ? "BPE" : "CHAR";
  snprintf(spec->name, sizeof spec->name, "SentencePiece %s", kind);
  spec->model = unigram ? MODEL_UNIGRAM : MODEL_BPE;
  spec->flags = MODEL_SPACE_MARKED | (in_front ? MODEL_STRIP_SPACE : 0u) |
                (model->byte_fallback ? MODEL_BYTE_FALLBACK : 0u) | (unigram ? 0u : MODEL_FUSE_UNKNOWN);
  if (!vocab_read_tokens(spec, &vocab->source, error)) return false;
  mark_user_pieces(spec, model);
  if (!read_scores(spec, vocab, error)) return false;
  bool starts = spec_space_starts(spec);
  if (!unigram && starts) spec->flags |= MODEL_SPACE_STARTS;
  vocab_read_special_ids(spec, &vocab->source, false);
  const struct step_spec words = {.kind = STEP_SPLIT, .mode = SPLIT_WITH_NEXT, .a = slice_text(" ")};
  return normalizing_steps(spec, model, error) && (!unigram || !starts || spec_step(spec, words, error));
}

static bool read_whole(struct tokenizer_spec *spec, struct slice file, const json_t *config, struct error *error) {
  struct piece_vocab vocab;
  struct sentencepiece *model = &vocab.model;
  size_t added = 0;
  if (!sentencepiece_read(file, &spec->arena, model, error) || !vocab_count_added(config, &added, error) ||
      !take_pieces(&vocab, spec, added > model->n_piece ? added : model->n_piece, error) ||
      !check_rules(model, error) ||
      !around_by_class(&vocab.source, config, model->kind == SENTENCEPIECE_UNIGRAM, error))
    return false;
  vocab_take_added(config, vocab.tokens, vocab.types);
  return read_model(spec, &vocab, error);
}

bool tokenizer_compile_sentencepiece(struct slice model, struct slice tokenizer_config_json, struct buffer *blob,
                                     struct error *error) {
  struct tokenizer_spec spec;
  json_t *config = NULL;
  if (tokenizer_config_json.size && !(config = json_parse(tokenizer_config_json, error)))
    return error_prefix(error, "tokenizer_config.json: ");
  spec_init(&spec);
  bool done = read_whole(&spec, model, config, error) && tokenizer_blob_write(&spec, blob, error);
  spec_release(&spec);
  json_decref(config);
  return done || error_prefix(error, "tokenizer.model: ");
}
