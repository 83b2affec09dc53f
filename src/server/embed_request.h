/* What a client asks of the routes of vectors, read from its JSON. */
#ifndef SPATE_SERVER_EMBED_REQUEST_H
#define SPATE_SERVER_EMBED_REQUEST_H

#include "base/error.h"
#include "base/json.h"
#include "spate.h"

/* Texts of a field: each a JSON string, or a list of token ids. */
struct embed_texts {
  const json_t *field;
  size_t count;
  bool single; /* the field is the one text itself */
};

struct embed_request {
  json_t *json;            /* owned */
  const char *model;       /* as the client named it; NULL: it did not */
  const char *prompt_name; /* of the prompt before each text; NULL: the model's usual one */
  struct slice instruct;   /* of two texts, what the second is to do for the first; no data: nothing is said */
  const char *param;       /* the field that a sentence is about; NULL: none */
  struct embed_texts first, second;
  bool base64, return_documents;
  bool plain;     /* the network's numbers, not normed, no sigmoid or softmax */
  bool chat;      /* `first` is a conversation in JSON */
  bool text_only; /* of objects the text counts, whatever else they have: the client says so */
  int dimensions, top_n;
  int truncate, priority;
  int max_tokens_per_doc; /* of texts of `second`; 0: all */
  float timeout_s;
};

/* Parses the body and reads what all of the routes take; release in any case. */
bool embed_request_read(struct embed_request *request, struct slice body, struct error *error);
void embed_request_release(struct embed_request *request);

/* What a body takes as long as it is kept parsed, about: each of its values has a struct, and room to grow. */
size_t embed_parsed_bytes(struct slice body);

/* A sentence about a field, which it names. Returns false. */
bool embed_field_refuse(struct embed_request *request, const char *name, const char *sentence, struct error *error);

/* A field of texts, 1 to LIMIT_REQUEST_TEXTS; `ids`: they may be lists of token ids. */
bool embed_texts_read(struct embed_request *request, const char *name, bool ids, struct embed_texts *texts,
                      struct error *error);

/* "messages" and what belongs to them, in place of texts: a conversation as the engine takes it. */
bool embed_messages_read(struct embed_request *request, struct error *error);

/* Text `index`, which is the only one of a field that has one. */
const json_t *embed_text_at(const struct embed_texts *texts, size_t index);

/* Does the body have the field, and not as null? */
bool embed_has(const struct embed_request *request, const char *name);

/* Fields of one route. Absent ones leave *value as it is. */
bool embed_int_read(struct embed_request *request, const char *name, int min, int max, int *value, struct error *error);
bool embed_bool_read(struct embed_request *request, const char *name, bool *value, struct error *error);

/* The first id of a field that is none of a vocabulary's, or -1. */
int64_t embed_id_beyond(const struct embed_texts *texts, int vocab);

/* "float" or "base64". */
bool embed_format_read(struct embed_request *request, struct error *error);

#endif
