/* What the lines of the field table say in words, and which name a wrong one may mean. */
#include "base/json.h"
#include "base/limits.h"
#include "base/name_distance.h"
#include "server/request_fields.h"

#include <inttypes.h>

const struct request_field *request_field_nearest(struct slice name, enum request_kind kind) {
  if (name.size > NAME_COMPARED_MAX) return NULL;
  int n_field;
  const struct request_field *fields = request_fields(&n_field), *nearest = NULL;
  size_t least_distance = name.size / 2 + 1;
  for (int i = 0; i < n_field; i++) {
    if (!(fields[i].kinds & (unsigned)kind)) continue;
    size_t distance = name_distance(name, slice_text(fields[i].name));
    if (distance >= least_distance) continue;
    least_distance = distance;
    nearest = &fields[i];
  }
  return nearest;
}

static void expect_range(const struct request_field *field, struct buffer *out) {
  buffer_text(out, field->above_min ? " above " : " from ");
  json_write_number(out, field->min);
  buffer_text(out, field->above_min ? " and up to " : " to ");
  json_write_number(out, field->max);
}

static void expect_adapters(const struct request_field *field, struct buffer *out) {
  buffer_print(out,
               "an object with a lora_name of 1 to %d bytes and perhaps a number as lora_scale, or a list of up to %d",
               LIMIT_ADAPTER_NAME_BYTES, (int)field->max);
}

static void expect_images(const struct request_field *field, struct buffer *out) {
  buffer_print(out, "an image in base64, as a data: URL or by its address, or a list of up to %d", (int)field->max);
}

/* Of types that are always the same. */
static const char *const type_words[] = {
    [FIELD_PROMPT] = "a string",
    [FIELD_MESSAGES] = "a list of objects, at least one",
    [FIELD_STREAM_OPTIONS] = "an object whose include_usage is true or false",
    [FIELD_FORMAT] = "an object whose type is \"text\"; nothing else exists yet",
    [FIELD_VARIABLES] = "an object",
    [FIELD_WORD] = "a string",
    [FIELD_TOOL_CHOICE] =
        "\"auto\" or \"none\"; that calls are required needs structured output, which does not exist yet",
    [FIELD_EARLY] = "true, false or \"never\"",
    [FIELD_BOOL] = "true or false",
    [FIELD_ONE] = "1: more does not exist yet",
    [FIELD_FALSE] = "false: more does not exist yet",
    [FIELD_LATER] = "nothing",
};

void request_field_expect(const struct request_field *field, struct buffer *out) {
  switch (field->type) {
  case FIELD_PROMPTS:
    buffer_print(out, "a string, a list of token ids, or a list of 1 to %d strings or such lists", (int)field->max);
    break;
  case FIELD_NAME: buffer_print(out, "a string of 1 to %d bytes without U+0000", (int)field->max); break;
  case FIELD_INT:
    buffer_text(out, "a whole number");
    expect_range(field, out);
    break;
  case FIELD_FLOAT:
    buffer_text(out, "a number");
    expect_range(field, out);
    break;
  case FIELD_SEED: buffer_print(out, "a whole number from %" PRId64 " to %" PRId64, INT64_MIN, INT64_MAX); break;
  case FIELD_TEXTS:
    buffer_print(out, "a string or a list of up to %d strings, each of 1 to %d bytes and without U+0000",
                 (int)field->max, LIMIT_STOP_BYTES);
    break;
  case FIELD_TOOLS:
    buffer_print(out,
                 "a list of 1 to %d objects {\"type\": \"function\", \"function\": {\"name\": \"...\", ...}} "
                 "whose names differ and have up to %d letters, digits, '_', '-' and '.'",
                 (int)field->max, LIMIT_TOOL_NAME_BYTES);
    break;
  case FIELD_TOKENS: buffer_print(out, "a list of up to %d token ids", (int)field->max); break;
  case FIELD_IMAGES: expect_images(field, out); break;
  case FIELD_ADAPTERS: expect_adapters(field, out); break;
  case FIELD_BIASES:
    buffer_print(out, "an object of up to %d token ids, each with a number from -%d to %d", (int)field->max,
                 LIMIT_LOGIT_BIAS, LIMIT_LOGIT_BIAS);
    break;
  default: buffer_text(out, type_words[field->type]); break;
  }
}
