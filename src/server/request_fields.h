/* The fields of all requests that generate, in one table. It drives the check of POST bodies and of GET queries
 * (generate_request.c, field_value.c), /openapi.json and the section of docs/http-api.md (openapi.c). To add a field: a
 * line in request_fields.c and, for a new type, a case in field_value.c and openapi.c. */
#ifndef SPATE_SERVER_REQUEST_FIELDS_H
#define SPATE_SERVER_REQUEST_FIELDS_H

#include "base/buffer.h"

/* Which request a field belongs to: bits of request_field.kinds. Those for vectors have fields of their own
 * (embed_request.h). */
enum request_kind {
  REQUEST_GENERATE = 1,
  REQUEST_COMPLETION = 2,
  REQUEST_CHAT = 4,
  REQUEST_ANY = 7,
  REQUEST_EMBED = 8
};

enum field_type {
  FIELD_PROMPT,         /* a string that goes to the request's prompt */
  FIELD_PROMPTS,        /* a string, token ids, or a list of up to max of one of them */
  FIELD_MESSAGES,       /* a conversation: a list of objects; the body goes to the engine as it is */
  FIELD_NAME,           /* const char *: a string of 1 to max bytes without U+0000 */
  FIELD_STREAM_OPTIONS, /* an object with include_usage */
  FIELD_FORMAT,         /* an object whose type is "text" */
  FIELD_BOOL,           /* bool */
  FIELD_INT,            /* int, from min to max */
  FIELD_FLOAT,          /* float, from min to max */
  FIELD_SEED,           /* a whole number of 64 bits, as JSON is read into */
  FIELD_TEXTS,          /* a string or a list of up to max strings */
  FIELD_TOKENS,         /* a list of up to max token ids */
  FIELD_BIASES,         /* an object of up to max token ids, as strings, each with a number from -100 to 100 */
  FIELD_ADAPTERS,       /* an object with lora_name and perhaps lora_scale, or a list of up to max of them */
  FIELD_IMAGES,         /* a string or a list of up to max strings: data: URLs, or base64 */
  FIELD_EARLY,          /* engine.early_stopping: a boolean or "never" */
  FIELD_ONE,            /* a number that can only be 1 until more than one of something exists; nothing is stored */
  FIELD_VARIABLES,      /* an object that the template reads in the body */
  FIELD_WORD,           /* a string that the template reads in the body */
  FIELD_TOOLS,          /* a list of up to max functions with different names; they stay in the body */
  FIELD_TOOL_CHOICE,    /* "auto" or "none" */
  FIELD_FALSE,          /* false, until what it switches on exists; nothing is stored */
  FIELD_LATER,          /* known from other servers, refused here: the description says why */
};

struct request_field {
  const char *name, *alias; /* alias may be NULL */
  unsigned kinds;           /* bits of enum request_kind */
  enum field_type type;
  size_t offset;            /* of the value in struct generate_request: bool, int, float, or a pointer to an array */
  size_t count_offset;      /* FIELD_TEXTS, FIELD_TOKENS, FIELD_BIASES, FIELD_ADAPTERS: of the int that counts it */
  bool required, above_min; /* above_min: min itself is not allowed */
  double min, max;          /* lists: max is of their entries */
  const char *fallback;     /* what holds when the field is left out; NULL when it is required */
  const char *description;
};

/* All fields, n of them. */
const struct request_field *request_fields(int *n);

/* By name or alias; NULL when such a request has none. */
const struct request_field *request_field_find(struct slice name, enum request_kind kind);

/* The field whose name is nearest to one that does not exist; NULL when none is near. */
const struct request_field *request_field_nearest(struct slice name, enum request_kind kind);

static inline bool request_field_is_list(const struct request_field *field) {
  return field->type == FIELD_TEXTS || field->type == FIELD_TOKENS;
}

/* Appends what a field's value may be: "a whole number from 1 to 9". */
void request_field_expect(const struct request_field *field, struct buffer *out);

#endif
