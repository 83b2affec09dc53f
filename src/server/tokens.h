/* POST /tokenize and POST /detokenize, as vLLM has them. */
#ifndef SPATE_SERVER_TOKENS_H
#define SPATE_SERVER_TOKENS_H

#include "http/http_request.h"
#include "server/server_state.h"

/* {"prompt": text} or {"messages": [...]}, "add_special_tokens": true → {"count":…,"max_model_len":…,"tokens":[…]} */
void tokenize_handle(struct server *server, struct http_request *request);

/* {"tokens": [...]} → {"prompt": text} */
void detokenize_handle(struct server *server, struct http_request *request);

#endif
