/* A SentencePiece model to a spec. Field numbers are those of sentencepiece_model.proto. */
#include "text/vocab_files.h"

#include "base/json.h"
#include "format/protobuf.h"
#include "text/charsmap.h"
#include "text/tokenizer_json.h"
#include "text/vocab_spec.h"

#include <math.h>
#include <stdio.h>

enum sentencepiece_kind { KIND_UNIGRAM = 1, KIND_BPE = 2 };

/* What the file says, with the library's defaults. */
struct sentencepiece {
  struct slice rest; /* the file's own, for counting */
  size_t n_piece;
  struct vocab_source source;
  struct slice *tokens; /* of source, as are the next two */
  int32_t *types;
  float *scores;
  uint64_t kind;
  bool byte_fallback, suffix_spaces, prefix_space, remove_spaces, escape_spaces;
};

/* --- the file ------------------------------------------------------------------------------------------------- */

static bool read_piece(struct sentencepiece *model, struct slice message, struct error *error) {
  struct protobuf_field field;
  size_t id = model->source.n_token++;
  int more;
  model->types[id] = 1;
  while ((more = protobuf_next(&message, &field, error)) > 0) {
    if (field.number == 1 && field.wire == PROTOBUF_BYTES) model->tokens[id] = field.bytes;
    if (field.number == 2 && field.wire == PROTOBUF_FIXED32) model->scores[id] = protobuf_float(&field);
    if (field.number == 3 && field.wire == PROTOBUF_VARINT) {
      if (field.value < 1 || field.value > 6)
        return error_set(error, ERROR_FORMAT, "Piece %zu is of the type %llu, expected 1 to 6.", id,
                         (unsigned long long)field.value);
      model->types[id] = (int32_t)field.value;
    }
  }
  return more == 0;
}

/* Ids are written as 64 bits; -1: there is none. */
static int32_t id_of(uint64_t value) { return value <= INT32_MAX ? (int32_t)value : -1; }

static bool read_trainer(struct sentencepiece *model, struct slice message, struct error *error) {
  struct protobuf_field field;
  int more;
  while ((more = protobuf_next(&message, &field, error)) > 0) {
    if (field.wire != PROTOBUF_VARINT) continue;
    switch (field.number) {
    case 3: model->kind = field.value; break;
    case 24: model->suffix_spaces = field.value; break;
    case 35: model->byte_fallback = field.value; break;
    case 40: model->source.unk = id_of(field.value); break;
    case 41: model->source.bos = id_of(field.value); break;
    case 42: model->source.eos = id_of(field.value); break;
    case 43: model->source.pad = id_of(field.value); break;
    default: break;
    }
  }
  return more == 0;
}

static bool read_normalizer(struct sentencepiece *model, struct slice message, struct error *error) {
  struct protobuf_field field;
  int more;
  while ((more = protobuf_next(&message, &field, error)) > 0) {
    if (field.number == 2 && field.wire == PROTOBUF_BYTES) model->source.charsmap = field.bytes;
    if (field.wire != PROTOBUF_VARINT) continue;
    if (field.number == 3) model->prefix_space = field.value;
    if (field.number == 4) model->remove_spaces = field.value;
    if (field.number == 5) model->escape_spaces = field.value;
  }
  return more == 0;
}

static bool read_file(struct sentencepiece *model, struct slice file, struct error *error) {
  struct protobuf_field field;
  int more;
  while ((more = protobuf_next(&file, &field, error)) > 0) {
    if (field.wire != PROTOBUF_BYTES) continue;
    bool done = field.number == 1   ? read_piece(model, field.bytes, error)
                : field.number == 2 ? read_trainer(model, field.bytes, error)
                : field.number == 3 ? read_normalizer(model, field.bytes, error)
                                    : true;
    if (!done) return false;
  }
  return more == 0;
}

static bool count_pieces(struct slice file, size_t *count, struct error *error) {
  struct protobuf_field field;
  int more;
  for (*count = 0; (more = protobuf_next(&file, &field, error)) > 0;)
    *count += field.number == 1 && field.wire == PROTOBUF_BYTES;
  return more == 0;
}

/* Room for the pieces and for tokens that the config adds, up to `count`. */
static bool reserve(struct sentencepiece *model, struct tokenizer_spec *spec, size_t count, struct error *error) {
  if (count > LIMIT_VOCAB)
    return error_set(error, ERROR_LIMIT, "The tokenizer has %zu tokens; between 1 and %d are supported.", count,
                     LIMIT_VOCAB);
  model->tokens = arena_array(&spec->arena, count + 1, sizeof *model->tokens);
  model->types = arena_array(&spec->arena, count + 1, sizeof *model->types);
  model->scores = arena_array(&spec->arena, count + 1, sizeof *model->scores);
  if (!model->tokens || !model->types || !model->scores) return spec_out_of_memory(error);
  for (size_t id = 0; id < count; id++) {
    model->tokens[id] = slice_make("", 0);
    model->types[id] = VOCAB_UNUSED;
  }
  model->source.tokens = model->tokens;
  model->source.types = model->types;
  model->source.scores = model->scores;
  return true;
}

/* --- rules ------------------------------------------------------------------------------------------------------ */

/* Its normalizer, in its order (of the spaces that a text writes as marks it drops those at the end): the characters'
 * rules, runs and ends of spaces, the space in front. */
static bool normalizing_steps(struct tokenizer_spec *spec, const struct sentencepiece *model, struct error *error) {
  struct step_spec rules = {.kind = STEP_CHARSMAP, .mode = CHARSMAP_LONGEST, .a = model->source.charsmap};
  struct step_spec runs = {.kind = STEP_REPLACE_MATCHES, .a = slice_text(" {2,}"), .b = slice_text(" ")};
  struct step_spec first = {.kind = STEP_REPLACE_MATCHES, .a = slice_text("\\A +"), .b = slice_text("")};
  struct step_spec last = {.kind = STEP_REPLACE_MATCHES, .a = slice_text("[ \\x{2581}]+\\z"), .b = slice_text("")};
  struct step_spec prefix = {.kind = STEP_PREPEND, .a = slice_text(" ")};
  if (model->source.charsmap.size > 0 && !charsmap_check(model->source.charsmap))
    return error_set(error, ERROR_FORMAT, "The SentencePiece model's precompiled_charsmap is not one.");
  if (model->source.charsmap.size > 0 && !spec_step(spec, rules, error)) return false;
  if (model->remove_spaces &&
      (!spec_step(spec, first, error) || !spec_step(spec, last, error) || !spec_step(spec, runs, error)))
    return false;
  return spec_unmark_spaces(spec, error) && (!model->prefix_space || spec_step(spec, prefix, error));
}

static bool check_rules(const struct sentencepiece *model, struct error *error) {
  if (model->kind != KIND_UNIGRAM && model->kind != KIND_BPE)
    return error_set(error, ERROR_UNSUPPORTED,
                     "The SentencePiece model is of the kind %llu (WORD or CHAR); BPE and UNIGRAM are supported.",
                     (unsigned long long)model->kind);
  if (model->suffix_spaces || !model->escape_spaces)
    return error_set(error, ERROR_UNSUPPORTED,
                     "The SentencePiece model writes spaces as no model does that Spate knows (%s); save its "
                     "tokenizer.json.",
                     model->suffix_spaces ? "treat_whitespace_as_suffix" : "escape_whitespaces is off");
  for (size_t id = 0; id < model->n_piece; id++)
    if (!isfinite(model->scores[id]))
      return error_set(error, ERROR_FORMAT, "The score of piece %zu is not a number.", id);
  return true;
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

static bool read_model(struct tokenizer_spec *spec, struct sentencepiece *model, struct error *error) {
  bool unigram = model->kind == KIND_UNIGRAM;
  snprintf(spec->name, sizeof spec->name, "SentencePiece %s", unigram ? "Unigram" : "BPE");
  spec->model = unigram ? MODEL_UNIGRAM : MODEL_BPE;
  spec->flags = MODEL_SPACE_MARKED | (model->prefix_space ? MODEL_STRIP_SPACE : 0u) |
                (model->byte_fallback ? MODEL_BYTE_FALLBACK : 0u) | (unigram ? 0u : MODEL_FUSE_UNKNOWN);
  if (!vocab_read_tokens(spec, &model->source, error)) return false;
  mark_user_pieces(spec, model);
  if (!(unigram ? vocab_scores(spec, model->scores, error) : vocab_merges_from_scores(spec, model->scores, error)))
    return false;
  bool starts = spec_space_starts(spec);
  if (!unigram && starts) spec->flags |= MODEL_SPACE_STARTS;
  vocab_read_special_ids(spec, &model->source, false);
  const struct step_spec words = {.kind = STEP_SPLIT, .mode = SPLIT_WITH_NEXT, .a = slice_text(" ")};
  return normalizing_steps(spec, model, error) && (!unigram || !starts || spec_step(spec, words, error));
}

static bool read_whole(struct tokenizer_spec *spec, struct slice file, const json_t *config, struct error *error) {
  struct sentencepiece model = {
      .kind = KIND_UNIGRAM, .prefix_space = true, .remove_spaces = true, .escape_spaces = true};
  struct vocab_source *source = &model.source;
  *source = (struct vocab_source){.unk = 0, .bos = 1, .eos = 2, .pad = -1, .eot = -1, .eom = -1, .sep = -1, .cls = -1};
  size_t added = 0;
  if (!count_pieces(file, &model.n_piece, error) || !vocab_count_added(config, &added, error) ||
      !reserve(&model, spec, added > model.n_piece ? added : model.n_piece, error) || !read_file(&model, file, error) ||
      !check_rules(&model, error) || !around_by_class(source, config, model.kind == KIND_UNIGRAM, error))
    return false;
  if (added > source->n_token) source->n_token = added;
  vocab_take_added(config, model.tokens, model.types);
  return read_model(spec, &model, error);
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
