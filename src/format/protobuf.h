/* The wire format of Protocol Buffers (https://protobuf.dev/programming-guides/encoding/), read field by field from
 * untrusted bytes. What a field's number means its reader knows. */
#ifndef SPATE_FORMAT_PROTOBUF_H
#define SPATE_FORMAT_PROTOBUF_H

#include "base/error.h"
#include "base/slice.h"

enum protobuf_wire { PROTOBUF_VARINT = 0, PROTOBUF_FIXED64 = 1, PROTOBUF_BYTES = 2, PROTOBUF_FIXED32 = 5 };

struct protobuf_field {
  uint32_t number;
  enum protobuf_wire wire;
  uint64_t value;     /* of a VARINT, FIXED64 or FIXED32 field, its bits */
  struct slice bytes; /* of a BYTES field: a text, or a message of its own */
};

/* Takes the next field off *rest: 1; 0 at the end; -1 with a sentence when the bytes are no such message. */
int protobuf_next(struct slice *rest, struct protobuf_field *field, struct error *error);

/* The number that a FIXED32 field's bits are. */
float protobuf_float(const struct protobuf_field *field);

#endif
