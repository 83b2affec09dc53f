/* Texts to tokens and back, on the network loop: bodies are small and both are linear. */
#include "server/tokens.h"

#include "base/json.h"
#include "base/limits.h"
#include "server/reply.h"

#include <stdlib.h>

/* The body as an object, or NULL after an answer that says what is wrong. The caller releases it. */
static json_t *object_read(struct http_request *request) {
  struct error error;
  json_t *root = json_parse(request->body, &error);
  if (root && json_is_object(root)) return root;
  reply_error(request, 400, NULL, root ? "The body is not a JSON object." : error.text);
  json_decref(root);
  return NULL;
}

static void page_send(struct http_request *request, struct buffer *page) {
  if (page->failed)
    reply_error(request, 500, NULL, "There is no memory for this answer.");
  else
    reply(request, 200, JSON_CONTENT_TYPE, NULL, buffer_slice(page));
  buffer_release(page);
}

/* --- /tokenize --------------------------------------------------------------------------------------------------- */

static void tokens_send(const struct server *server, struct http_request *request, const spate_tokens *tokens) {
  struct buffer page;
  buffer_init(&page, LIMIT_RESPONSE_BYTES);
  buffer_print(&page, "{\"count\":%zu,\"max_model_len\":%d,\"tokens\":[", tokens->count, server->info.max_seq_len);
  for (size_t i = 0; i < tokens->count; i++) buffer_print(&page, i ? ",%d" : "%d", tokens->ids[i]);
  buffer_text(&page, "]}");
  page_send(request, &page);
}

/* True when the tokens are there; else the request is answered. */
static bool tokens_make(const struct server *server, struct http_request *request, const json_t *root,
                        spate_tokens *tokens) {
  const json_t *prompt = json_object_get(root, "prompt"), *special = json_object_get(root, "add_special_tokens");
  struct slice body = request->body;
  spate_error error;
  bool made = false;
  if (special && !json_is_boolean(special)) {
    reply_field_error(request, 400, "add_special_tokens", "add_special_tokens must be true or false.");
    return false;
  }
  if (json_object_get(root, "messages")) {
    made = spate_chat_tokens(server->engine, (const char *)body.data, body.size, tokens, &error);
  } else if (json_is_string(prompt)) {
    made = spate_encode(server->engine, json_string_value(prompt), json_string_length(prompt),
                        !special || json_is_true(special), tokens, &error);
  } else {
    reply_field_error(request, 400, "prompt", "prompt is missing or no string: send it, or messages.");
    return false;
  }
  if (!made) reply_engine_error(request, error.code, error.text);
  return made;
}

void tokenize_handle(struct server *server, struct http_request *request) {
  spate_tokens tokens;
  json_t *root = object_read(request);
  if (root && tokens_make(server, request, root, &tokens)) {
    tokens_send(server, request, &tokens);
    spate_tokens_free(&tokens);
  }
  json_decref(root);
}

/* --- /detokenize ------------------------------------------------------------------------------------------------- */

/* The ids of the list; NULL when it is no list of them, or memory is short. */
static int32_t *ids_read(const json_t *list) {
  size_t count = json_array_size(list);
  int32_t *ids = json_is_array(list) ? calloc(count + 1, sizeof *ids) : NULL;
  for (size_t i = 0; ids && i < count; i++) {
    const json_t *id = json_array_get(list, i);
    json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
    if (value >= 0 && value <= INT32_MAX) {
      ids[i] = (int32_t)value;
      continue;
    }
    free(ids);
    return NULL;
  }
  return ids;
}

static void text_send(struct http_request *request, const spate_text *text) {
  struct buffer page;
  buffer_init(&page, LIMIT_RESPONSE_BYTES);
  buffer_text(&page, "{\"prompt\":");
  json_write_string(&page, slice_make(text->data, text->size));
  buffer_text(&page, "}");
  page_send(request, &page);
}

void detokenize_handle(struct server *server, struct http_request *request) {
  json_t *root = object_read(request);
  const json_t *list = json_object_get(root, "tokens");
  int32_t *ids = ids_read(list);
  spate_text text;
  spate_error error;
  if (root && !ids)
    reply_field_error(request, 400, "tokens", "tokens is missing or no list of token ids.");
  else if (root && !spate_decode(server->engine, ids, json_array_size(list), &text, &error))
    reply_engine_error(request, error.code, error.text);
  else if (root) {
    text_send(request, &text);
    spate_text_free(&text);
  }
  free(ids);
  json_decref(root);
}
