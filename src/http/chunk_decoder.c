/* The chunked decoder: one state machine over bytes, but for chunk data, which is copied in runs. */
#include "http/chunk_decoder.h"

#include "base/limits.h"
#include "http/http_query.h"

enum chunk_state {
  CHUNK_SIZE,      /* hex digits */
  CHUNK_EXTENSION, /* after ';' */
  CHUNK_SIZE_LF,   /* the CR of the size line was read */
  CHUNK_DATA,      /* left bytes to copy */
  CHUNK_DATA_CR,   /* the chunk's data is whole */
  CHUNK_DATA_LF,
  CHUNK_TRAILER, /* at the start of a trailer line, or of the final empty line */
  CHUNK_TRAILER_NAME,
  CHUNK_TRAILER_VALUE,
  CHUNK_TRAILER_LF,
  CHUNK_FINAL_LF,
  CHUNK_DONE,
};

static const char size_fault[] = "A chunk size must be hexadecimal digits that end in CR LF.";
static const char data_fault[] = "The data of a chunk must end in CR LF.";
static const char trailer_fault[] = "A trailer line is malformed.";

/* Each step_ function takes one byte and returns NULL or the sentence that refuses it. */
static const char *step_size(struct chunk_decoder *decoder, uint8_t byte) {
  int digit = http_hex_value(byte);
  if (digit >= 0) {
    if (++decoder->n_digit > 15) return "A chunk size has more than 15 digits.";
    decoder->left = decoder->left * 16 + (uint64_t)digit;
    return NULL;
  }
  if (decoder->n_digit == 0 || (byte != ';' && byte != '\r')) return size_fault;
  decoder->state = byte == ';' ? CHUNK_EXTENSION : CHUNK_SIZE_LF;
  return NULL;
}

static const char *step_extension(struct chunk_decoder *decoder, uint8_t byte) {
  if (byte == '\r') {
    decoder->state = CHUNK_SIZE_LF;
    return NULL;
  }
  if (++decoder->extension > LIMIT_CHUNK_EXTENSION_BYTES) return "The chunk extensions are longer than 256 bytes.";
  _Static_assert(LIMIT_CHUNK_EXTENSION_BYTES == 256, "the sentence above names the limit");
  return head_gate_is_text(byte) ? NULL : size_fault;
}

static const char *step_trailer(struct chunk_decoder *decoder, uint8_t byte) {
  if (++decoder->trailer > LIMIT_TRAILER_BYTES) return "The trailer is larger than 4096 bytes.";
  _Static_assert(LIMIT_TRAILER_BYTES == 4096, "the sentence above names the limit");
  if (decoder->state == CHUNK_TRAILER && byte == '\r') {
    decoder->state = CHUNK_FINAL_LF;
  } else if (decoder->state == CHUNK_TRAILER && head_gate_is_token(byte)) {
    decoder->state = CHUNK_TRAILER_NAME;
  } else if (decoder->state == CHUNK_TRAILER_NAME && byte == ':') {
    decoder->state = CHUNK_TRAILER_VALUE;
  } else if (decoder->state == CHUNK_TRAILER_VALUE && byte == '\r') {
    decoder->state = CHUNK_TRAILER_LF;
  } else {
    bool in_name = decoder->state == CHUNK_TRAILER_NAME && head_gate_is_token(byte);
    bool in_value = decoder->state == CHUNK_TRAILER_VALUE && head_gate_is_text(byte);
    if (!in_name && !in_value) return trailer_fault;
  }
  return NULL;
}

/* The byte must be this one; the state after it is next. */
static const char *step_exact(struct chunk_decoder *decoder, uint8_t byte, char expected, enum chunk_state next,
                              const char *fault) {
  if (byte != (uint8_t)expected) return fault;
  decoder->state = next;
  return NULL;
}

static const char *step_size_lf(struct chunk_decoder *decoder, uint8_t byte) {
  decoder->n_digit = 0;
  return step_exact(decoder, byte, '\n', decoder->left ? CHUNK_DATA : CHUNK_TRAILER, size_fault);
}

static const char *step(struct chunk_decoder *decoder, uint8_t byte) {
  switch ((enum chunk_state)decoder->state) {
  case CHUNK_SIZE: return step_size(decoder, byte);
  case CHUNK_EXTENSION: return step_extension(decoder, byte);
  case CHUNK_SIZE_LF: return step_size_lf(decoder, byte);
  case CHUNK_DATA_CR: return step_exact(decoder, byte, '\r', CHUNK_DATA_LF, data_fault);
  case CHUNK_DATA_LF: return step_exact(decoder, byte, '\n', CHUNK_SIZE, data_fault);
  case CHUNK_TRAILER:
  case CHUNK_TRAILER_NAME:
  case CHUNK_TRAILER_VALUE: return step_trailer(decoder, byte);
  case CHUNK_TRAILER_LF: return step_exact(decoder, byte, '\n', CHUNK_TRAILER, trailer_fault);
  case CHUNK_FINAL_LF: return step_exact(decoder, byte, '\n', CHUNK_DONE, trailer_fault);
  case CHUNK_DATA:
  case CHUNK_DONE: break;
  }
  return size_fault; /* not reached: the caller handles these two */
}

/* Copies what there is of the chunk's data. False when memory runs out. */
static bool copy_data(struct chunk_decoder *decoder, struct slice *input, struct buffer *body) {
  size_t size = decoder->left < input->size ? (size_t)decoder->left : input->size;
  if (!buffer_append(body, input->data, size)) return false;
  *input = slice_make(input->data + size, input->size - size);
  decoder->left -= size;
  if (decoder->left == 0) decoder->state = CHUNK_DATA_CR;
  return true;
}

static enum chunk_progress refuse(struct head_verdict *verdict, int status, const char *reason) {
  *verdict = (struct head_verdict){status, reason};
  return CHUNK_BAD;
}

enum chunk_progress chunk_decoder_feed(struct chunk_decoder *decoder, struct slice *input, struct buffer *body,
                                       struct head_verdict *verdict) {
  while (input->size && decoder->state != CHUNK_DONE) {
    if (decoder->state == CHUNK_DATA) {
      if (!copy_data(decoder, input, body)) return refuse(verdict, 500, "There is no memory for the body.");
      continue;
    }
    const char *fault = step(decoder, input->data[0]);
    if (fault) return refuse(verdict, 400, fault);
    *input = slice_make(input->data + 1, input->size - 1);
    /* A chunk that cannot fit is refused before its bytes come. */
    bool fits = decoder->state != CHUNK_DATA || decoder->left <= body->max - body->size;
    if (!fits) return refuse(verdict, 413, "The body is larger than this path accepts.");
  }
  return decoder->state == CHUNK_DONE ? CHUNK_END : CHUNK_MORE;
}
