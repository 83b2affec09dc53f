/* Protocol Buffers' wire format. */
#include "format/protobuf.h"

enum { VARINT_BYTES_MAX = 10, FIELD_NUMBER_MAX = (1 << 29) - 1 };

static int malformed(const char *what, struct error *error) {
  error_set(error, ERROR_FORMAT, "The bytes are no message of Protocol Buffers: %s.", what);
  return -1;
}

static bool take_varint(struct slice *rest, uint64_t *value) {
  *value = 0;
  for (int i = 0; i < VARINT_BYTES_MAX && rest->size > 0; i++) {
    uint8_t byte = *rest->data;
    *rest = slice_make(rest->data + 1, rest->size - 1);
    *value |= (uint64_t)(byte & 0x7F) << (7 * i);
    if (byte < 0x80) return i < VARINT_BYTES_MAX - 1 || byte <= 1;
  }
  return false;
}

static bool take_fixed(struct slice *rest, size_t size, uint64_t *value) {
  *value = 0;
  if (rest->size < size) return false;
  for (size_t i = 0; i < size; i++) *value |= (uint64_t)rest->data[i] << (8 * i);
  *rest = slice_make(rest->data + size, rest->size - size);
  return true;
}

static bool take_bytes(struct slice *rest, struct slice *bytes) {
  uint64_t size;
  if (!take_varint(rest, &size) || size > rest->size) return false;
  *bytes = slice_make(rest->data, (size_t)size);
  *rest = slice_make(rest->data + size, rest->size - (size_t)size);
  return true;
}

int protobuf_next(struct slice *rest, struct protobuf_field *field, struct error *error) {
  uint64_t key;
  bool taken;
  if (rest->size == 0) return 0;
  if (!take_varint(rest, &key) || key >> 3 == 0 || key >> 3 > FIELD_NUMBER_MAX)
    return malformed("a field has no number", error);
  *field = (struct protobuf_field){.number = (uint32_t)(key >> 3), .wire = (enum protobuf_wire)(key & 7)};
  switch (field->wire) {
  case PROTOBUF_VARINT: taken = take_varint(rest, &field->value); break;
  case PROTOBUF_FIXED64: taken = take_fixed(rest, 8, &field->value); break;
  case PROTOBUF_FIXED32: taken = take_fixed(rest, 4, &field->value); break;
  case PROTOBUF_BYTES: taken = take_bytes(rest, &field->bytes); break;
  default: return malformed("a field has a type that no field has", error);
  }
  return taken ? 1 : malformed("a field ends beyond them", error);
}

float protobuf_float(const struct protobuf_field *field) {
  uint32_t bits = (uint32_t)field->value;
  float number;
  memcpy(&number, &bits, sizeof number);
  return number;
}
