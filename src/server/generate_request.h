/* What a client asks of /generate, read from a JSON body or from a query and checked against the field table. */
#ifndef SPATE_SERVER_GENERATE_REQUEST_H
#define SPATE_SERVER_GENERATE_REQUEST_H

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "spate.h"

struct generate_request {
  spate_request engine; /* goes to spate_submit; its strings lie in json */
  bool streaming;
  json_t *json;       /* owned */
  struct arena lists; /* the engine request's arrays */
};

/* Each starts from the engine's defaults. False with a sentence for the client; release in both cases. */
bool generate_request_read_body(struct generate_request *request, const spate_request *defaults, struct slice body,
                                struct error *error);
bool generate_request_read_query(struct generate_request *request, const spate_request *defaults, struct slice query,
                                 struct error *error);

void generate_request_release(struct generate_request *request);

#endif
