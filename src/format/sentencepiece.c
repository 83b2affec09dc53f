/* Field numbers are those of sentencepiece_model.proto. */
#include "format/sentencepiece.h"

#include "base/limits.h"
#include "format/protobuf.h"

#include <math.h>

static bool read_piece(struct slice message, size_t id, struct sentencepiece_piece *piece, struct error *error) {
  struct protobuf_field field;
  int more;
  *piece = (struct sentencepiece_piece){.text = slice_make("", 0), .type = PIECE_NORMAL};
  while ((more = protobuf_next(&message, &field, error)) > 0) {
    if (field.number == 1 && field.wire == PROTOBUF_BYTES) piece->text = field.bytes;
    if (field.number == 2 && field.wire == PROTOBUF_FIXED32) piece->score = protobuf_float(&field);
    if (field.number == 3 && field.wire == PROTOBUF_VARINT) {
      if (field.value < PIECE_NORMAL || field.value > PIECE_BYTE)
        return error_set(error, ERROR_FORMAT, "Piece %zu is of the type %llu, expected 1 to 6.", id,
                         (unsigned long long)field.value);
      piece->type = (int32_t)field.value;
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
    case 40: model->unk = id_of(field.value); break;
    case 41: model->bos = id_of(field.value); break;
    case 42: model->eos = id_of(field.value); break;
    case 43: model->pad = id_of(field.value); break;
    default: break;
    }
  }
  return more == 0;
}

static bool read_normalizer(struct sentencepiece *model, struct slice message, struct error *error) {
  struct protobuf_field field;
  int more;
  while ((more = protobuf_next(&message, &field, error)) > 0) {
    if (field.number == 2 && field.wire == PROTOBUF_BYTES) model->charsmap = field.bytes;
    if (field.wire != PROTOBUF_VARINT) continue;
    if (field.number == 3) model->prefix_space = field.value;
    if (field.number == 4) model->remove_spaces = field.value;
    if (field.number == 5) model->escape_spaces = field.value;
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

static bool read_fields(struct sentencepiece *model, struct slice file, struct error *error) {
  struct protobuf_field field;
  size_t id = 0;
  int more;
  while ((more = protobuf_next(&file, &field, error)) > 0) {
    if (field.wire != PROTOBUF_BYTES) continue;
    bool done = true;
    if (field.number == 1) done = read_piece(field.bytes, id, &model->pieces[id], error), id++;
    if (field.number == 2) done = read_trainer(model, field.bytes, error);
    if (field.number == 3) done = read_normalizer(model, field.bytes, error);
    if (!done) return false;
  }
  return more == 0;
}

static bool check_scores(const struct sentencepiece *model, struct error *error) {
  for (size_t id = 0; id < model->n_piece; id++)
    if (!isfinite(model->pieces[id].score))
      return error_set(error, ERROR_FORMAT, "The score of piece %zu is not a number.", id);
  return true;
}

bool sentencepiece_read(struct slice file, struct arena *arena, struct sentencepiece *model, struct error *error) {
  *model = (struct sentencepiece){.kind = SENTENCEPIECE_UNIGRAM,
                                  .unk = 0,
                                  .bos = 1,
                                  .eos = 2,
                                  .pad = -1,
                                  .prefix_space = true,
                                  .remove_spaces = true,
                                  .escape_spaces = true};
  if (!count_pieces(file, &model->n_piece, error)) return false;
  if (model->n_piece == 0 || model->n_piece > LIMIT_VOCAB)
    return error_set(error, ERROR_LIMIT, "The tokenizer has %zu tokens; between 1 and %d are supported.",
                     model->n_piece, LIMIT_VOCAB);
  model->pieces = arena_array(arena, model->n_piece, sizeof *model->pieces);
  if (!model->pieces) return error_set(error, ERROR_MEMORY, "There is no memory for the pieces of a tokenizer.");
  return read_fields(model, file, error) && check_scores(model, error);
}
