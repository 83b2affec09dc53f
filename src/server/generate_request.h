/* What a client asks of /generate, /v1/completions or /v1/chat/completions, read from a JSON body or from a query and
 * checked against the field table. */
#ifndef SPATE_SERVER_GENERATE_REQUEST_H
#define SPATE_SERVER_GENERATE_REQUEST_H

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "server/request_fields.h"
#include "spate.h"

struct request_prompt {
  struct slice text;
  int32_t *tokens; /* instead of text, when n_token > 0 */
  int n_token;
};

struct generate_request {
  enum request_kind kind;
  spate_request engine; /* goes to spate_submit; its strings lie in json, or in the body */
  bool streaming;
  const char *model;             /* as the client named it; NULL: it did not */
  struct request_prompt *prompt; /* [n_prompt] of a completion, in lists */
  int n_prompt;
  int n;                      /* choices for each prompt */
  int completion_logprobs;    /* the number that completions ask with; −1: none */
  int prompt_logprobs;        /* the same for prompts */
  bool add_generation_prompt; /* checked here; the template reads the body */
  json_t *tools;              /* lies in json; NULL: none */
  bool no_tools, parallel_tool_calls, include_reasoning, skip_special_tokens;
  bool echo, has_stream_options, include_usage;
  bool only_echo;    /* max_tokens was 0 */
  int n_ignored;     /* fields that do not exist */
  const char *param; /* the field that a sentence is about; NULL: none */
  json_t *json;      /* owned */
  struct arena lists;
};

/* Each starts from the engine's defaults. False with a sentence for the client; release in both cases. The body must
 * stay as long as the request. */
bool generate_request_read_body(struct generate_request *request, enum request_kind kind, const spate_request *defaults,
                                struct slice body, struct error *error);
bool generate_request_read_query(struct generate_request *request, const spate_request *defaults, struct slice query,
                                 struct error *error);

void generate_request_release(struct generate_request *request);

#endif
