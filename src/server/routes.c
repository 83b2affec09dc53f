/* Routing: 404, 405, 415, 501 and OPTIONS before a body is read, then the handler. */
#include "server/routes.h"

#include "http/head_parse.h"
#include "server/adapters.h"
#include "server/admin.h"
#include "server/embed.h"
#include "server/generate.h"
#include "server/pages.h"
#include "server/reply.h"
#include "server/server_loop.h"
#include "server/tokens.h"
#include "server/web_pages.h"

#include <stdio.h>
#include <strings.h>

enum { GET = 1u << METHOD_GET | 1u << METHOD_HEAD, ALLOW_MAX = 128 };

#define EMPTY_SCHEMA "{\"type\":\"object\"}"
#define TEXTS_SCHEMA                                                                                                   \
  "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,\"maxItems\":1024,\"items\":{\"type\":"        \
  "\"string\"}}]}"
#define EMBED_SCHEMA                                                                                                   \
  ",\"model\":{\"type\":\"string\"},\"prompt_name\":{\"type\":\"string\"},\"truncate_prompt_tokens\":{\"type\":"       \
  "\"integer\",\"minimum\":-1},\"priority\":{"                                                                         \
  "\"type\":\"integer\"},\"timeout_s\":{\"type\":\"number\",\"minimum\":0}"
#define MESSAGES_SCHEMA                                                                                                \
  ",\"messages\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}},\"add_generation_prompt\":{\"type\":"            \
  "\"boolean\"},"                                                                                                      \
  "\"chat_template_kwargs\":{\"type\":\"object\"},\"tools\":{\"type\":\"array\"},\"tool_choice\":{},\"reasoning_"      \
  "effort\":{\"type\":\"string\"}"
#define EITHER_SCHEMA     "\"oneOf\":[{\"required\":[\"input\"]},{\"required\":[\"messages\"]}]"
#define ACTIVATION_SCHEMA ",\"use_activation\":{\"type\":\"boolean\",\"default\":true}"
#define PER_DOC_SCHEMA    ",\"instruct\":{\"type\":\"string\"},\"max_tokens_per_doc\":{\"type\":\"integer\",\"minimum\":0}"
#define RERANK_SCHEMA                                                                                                  \
  "{\"type\":\"object\",\"required\":[\"query\",\"documents\"],\"properties\":{\"query\":{\"type\":\"string\"},"       \
  "\"documents\":{\"type\":\"array\",\"minItems\":1,\"maxItems\":1024,\"items\":{\"type\":\"string\"}},\"top_n\":{"    \
  "\"type\":\"integer\",\"minimum\":1},\"return_documents\":{\"type\":\"boolean\",\"default\":true},\"rank_fields\":"  \
  "{\"const\":[\"text\"]}" PER_DOC_SCHEMA ACTIVATION_SCHEMA EMBED_SCHEMA "}}"
#define SCORE_SCHEMA                                                                                                   \
  "{\"type\":\"object\",\"anyOf\":[{\"required\":[\"text_1\",\"text_2\"]},{\"required\":[\"data_1\",\"data_2\"]},{"    \
  "\"required\":[\"queries\",\"documents\"]}],\"properties\":{\"text_1\":" TEXTS_SCHEMA ",\"text_2\":" TEXTS_SCHEMA    \
  ",\"data_1\":" TEXTS_SCHEMA ",\"data_2\":" TEXTS_SCHEMA ",\"queries\":" TEXTS_SCHEMA                                 \
  ",\"documents\":" TEXTS_SCHEMA PER_DOC_SCHEMA ACTIVATION_SCHEMA EMBED_SCHEMA "}}"
#define CLASSIFY_SCHEMA                                                                                                \
  "{\"type\":\"object\"," EITHER_SCHEMA                                                                                \
  ",\"properties\":{\"input\":" TEXTS_SCHEMA MESSAGES_SCHEMA ACTIVATION_SCHEMA EMBED_SCHEMA "}}"
#define NAME_SCHEMA "{\"type\":\"string\",\"minLength\":1,\"maxLength\":255}"

const struct route routes[ROUTE_COUNT] = {
    {"/generate", 1u << METHOD_GET | 1u << METHOD_POST, ROUTE_KEYED, "Generate text", JSON_CONTENT_TYPE,
     generate_handle, REQUEST_GENERATE, NULL, "GenerateAnswer"},
    {"/v1/completions", 1u << METHOD_POST, ROUTE_KEYED, "Generate text, as OpenAI's API", JSON_CONTENT_TYPE,
     completion_handle, REQUEST_COMPLETION, NULL, "Completion"},
    {"/v1/chat/completions", 1u << METHOD_POST, ROUTE_KEYED, "Answer a conversation, as OpenAI's API",
     JSON_CONTENT_TYPE, chat_handle, REQUEST_CHAT, NULL, "ChatCompletion"},
    {"/v1/embeddings", 1u << METHOD_POST, ROUTE_KEYED, "The vectors of texts, as OpenAI's API", JSON_CONTENT_TYPE,
     embeddings_handle, REQUEST_EMBED,
     "{\"type\":\"object\"," EITHER_SCHEMA ",\"properties\":{\"input\":" TEXTS_SCHEMA MESSAGES_SCHEMA
     ",\"encoding_format\":{\"enum\":[\"float\",\"base64\"]},\"dimensions\":{\"type\":\"integer\",\"minimum\":1,"
     "\"maximum\":1048576},\"normalize\":{\"type\":\"boolean\"}" EMBED_SCHEMA "}}",
     "Embeddings"},
    {"/v1/rerank", 1u << METHOD_POST, ROUTE_KEYED, "Documents in the order in which they answer a query",
     JSON_CONTENT_TYPE, rerank_handle, REQUEST_EMBED, RERANK_SCHEMA, "Ranking"},
    {"/rerank", 1u << METHOD_POST, ROUTE_KEYED, "Documents in the order in which they answer a query",
     JSON_CONTENT_TYPE, rerank_handle, REQUEST_EMBED, RERANK_SCHEMA, "Ranking"},
    {"/v2/rerank", 1u << METHOD_POST, ROUTE_KEYED,
     "Documents in the order in which they answer a query, as Cohere's API", JSON_CONTENT_TYPE, rerank_cohere_handle,
     REQUEST_EMBED, RERANK_SCHEMA, "CohereRanking"},
    {"/v1/score", 1u << METHOD_POST, ROUTE_KEYED, "How well pairs of texts fit each other", JSON_CONTENT_TYPE,
     score_handle, REQUEST_EMBED, SCORE_SCHEMA, "Scores"},
    {"/score", 1u << METHOD_POST, ROUTE_KEYED, "How well pairs of texts fit each other", JSON_CONTENT_TYPE,
     score_handle, REQUEST_EMBED, SCORE_SCHEMA, "Scores"},
    {"/v1/classify", 1u << METHOD_POST, ROUTE_KEYED, "The labels of texts", JSON_CONTENT_TYPE, classify_handle,
     REQUEST_EMBED, CLASSIFY_SCHEMA, "Classes"},
    {"/classify", 1u << METHOD_POST, ROUTE_KEYED, "The labels of texts", JSON_CONTENT_TYPE, classify_handle,
     REQUEST_EMBED, CLASSIFY_SCHEMA, "Classes"},
    {"/tokenize", 1u << METHOD_POST, ROUTE_KEYED, "The tokens of a text or a conversation", JSON_CONTENT_TYPE,
     tokenize_handle, 0,
     "{\"type\":\"object\",\"properties\":{\"prompt\":{\"type\":\"string\"},\"messages\":{\"type\":\"array\","
     "\"items\":{\"type\":\"object\"}},\"add_special_tokens\":{\"type\":\"boolean\",\"default\":true}}}",
     "Tokens"},
    {"/detokenize", 1u << METHOD_POST, ROUTE_KEYED, "The text of tokens", JSON_CONTENT_TYPE, detokenize_handle, 0,
     "{\"type\":\"object\",\"required\":[\"tokens\"],\"properties\":{\"tokens\":{\"type\":\"array\","
     "\"items\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":2147483647}}}}",
     "Text"},
    {"/health", GET, ROUTE_OPEN, "Whether the engine makes progress", JSON_CONTENT_TYPE, health_handle, 0, NULL,
     "Health"},
    {"/ready", GET, ROUTE_OPEN, "Whether new requests should come here: not while shutting down", JSON_CONTENT_TYPE,
     ready_handle, 0, NULL, "State"},
    {"/live", GET, ROUTE_OPEN, "That the server answers", JSON_CONTENT_TYPE, live_handle, 0, NULL, "State"},
    {"/version", GET, ROUTE_KEYED, "The version of the server", JSON_CONTENT_TYPE, version_handle, 0, NULL, "Version"},
    {"/v1/models", GET, ROUTE_KEYED, "The model that is served, and its adapters", JSON_CONTENT_TYPE, models_handle, 0,
     NULL, "Models"},
    {"/v1/models/{model}", GET, ROUTE_KEYED, "One model", JSON_CONTENT_TYPE, model_handle, 0, NULL, "Model"},
    {"/v1/load_lora_adapter", 1u << METHOD_POST, ROUTE_ADMIN, "Read an adapter of --lora-dir, and let requests name it",
     JSON_CONTENT_TYPE, adapter_load_handle, 0,
     "{\"type\":\"object\",\"required\":[\"lora_name\",\"lora_path\"],\"properties\":{\"lora_name\":" NAME_SCHEMA
     ",\"lora_path\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":4095}}}",
     "AdapterState"},
    {"/v1/unload_lora_adapter", 1u << METHOD_POST, ROUTE_ADMIN, "Let no more requests name an adapter",
     JSON_CONTENT_TYPE, adapter_unload_handle, 0,
     "{\"type\":\"object\",\"required\":[\"lora_name\"],\"properties\":{\"lora_name\":" NAME_SCHEMA "}}",
     "AdapterState"},
    {"/is_sleeping", GET, ROUTE_KEYED, "Whether the engine's memory is given back", JSON_CONTENT_TYPE,
     is_sleeping_handle, 0, NULL, "Sleeping"},
    {"/sleep", 1u << METHOD_POST, ROUTE_ADMIN, "Give the engine's memory back, once running answers have ended",
     JSON_CONTENT_TYPE, sleep_handle, 0, EMPTY_SCHEMA, "EngineState"},
    {"/wake_up", 1u << METHOD_POST, ROUTE_ADMIN, "Open the engine again", JSON_CONTENT_TYPE, wake_handle, 0,
     EMPTY_SCHEMA, "EngineState"},
    {"/admin/reload", 1u << METHOD_POST, ROUTE_ADMIN, "Open the engine file anew and let it take over",
     JSON_CONTENT_TYPE, reload_handle, 0,
     "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"model\":{\"type\":\"string\",\"minLength\":"
     "1,"
     "\"maxLength\":255,\"pattern\":\"^[^./][^/]*$\"}}}",
     "EngineState"},
    {"/metrics", GET, ROUTE_KEYED, "Metrics in the Prometheus text format", METRICS_CONTENT_TYPE, metrics_handle, 0,
     NULL, NULL},
    {"/openapi.json", GET, ROUTE_KEYED, "This description", JSON_CONTENT_TYPE, openapi_handle, 0, NULL, NULL},
    {"/", GET, ROUTE_OPEN, "A page to try the model on", PAGE_CONTENT_TYPE, playground_handle, 0, NULL, NULL},
    {"/status", GET, ROUTE_OPEN, "A page that shows what the server does", PAGE_CONTENT_TYPE, status_page_handle, 0,
     NULL, NULL},
    {"/docs", GET, ROUTE_OPEN, "A page that shows this description", PAGE_CONTENT_TYPE, docs_handle, 0, NULL, NULL},
};

static bool path_matches(struct slice path, const char *pattern) {
  size_t fixed = strcspn(pattern, "{");
  if (!pattern[fixed]) return slice_is(path, pattern);
  return path.size > fixed && memcmp(path.data, pattern, fixed) == 0;
}

int route_find(struct slice path) {
  for (int i = 0; i < ROUTE_COUNT; i++)
    if (path_matches(path, routes[i].path)) return i;
  return ROUTE_NONE;
}

static const char *const method_names[METHOD_COUNT] = {"GET", "HEAD", "POST", "OPTIONS", "other"};

const char *method_name(enum method method) { return method_names[method]; }

enum method http_method_find(struct slice name) {
  enum method method = METHOD_GET;
  while (method < METHOD_OTHER && !slice_is(name, method_names[method])) method++;
  return method;
}

static const char *allow_header(const struct route *route, char text[ALLOW_MAX]) {
  int size = snprintf(text, ALLOW_MAX, "Allow: OPTIONS");
  for (enum method method = METHOD_GET; method < METHOD_OPTIONS; method++)
    if (route->methods & 1u << method)
      size += snprintf(text + size, ALLOW_MAX - (size_t)size, ", %s", method_names[method]);
  snprintf(text + size, ALLOW_MAX - (size_t)size, "\r\n");
  return text;
}

/* "application/json", with or without parameters; a request without the header is taken at its word too. */
static bool is_json(struct slice content_type) {
  static const char json[] = "application/json";
  size_t size = sizeof json - 1;
  if (!content_type.data) return true;
  if (content_type.size < size || strncasecmp((const char *)content_type.data, json, size) != 0) return false;
  return content_type.size == size || strchr("; \t", content_type.data[size]) != NULL;
}

static void refuse_path(struct http_request *request) {
  char sentence[320];
  snprintf(sentence, sizeof sentence, "There is no path %.*s: /openapi.json lists those that exist.",
           SLICE_ARGS(request->head.path));
  reply_error(request, 404, NULL, sentence);
}

static void refuse_method(struct http_request *request, const struct route *route) {
  char sentence[320], allow[ALLOW_MAX];
  snprintf(sentence, sizeof sentence, "%s does not take %.*s: see the Allow header.", route->path,
           SLICE_ARGS(request->head.method));
  reply_error(request, 405, allow_header(route, allow), sentence);
}

/* RFC 9110, 15.6.2: a method that is not recognized at all is taken for no path. */
static void refuse_unknown(struct http_request *request) {
  char sentence[320];
  snprintf(sentence, sizeof sentence,
           "HTTP has no method %.*s that this server knows: /openapi.json lists those that "
           "its paths take.",
           SLICE_ARGS(request->head.method));
  reply_error(request, 501, NULL, sentence);
}

/* Without a key not even which paths exist is told. */
static bool may_ask(const struct server *server, const struct http_request *request, int route) {
  struct slice given = http_request_header(request, "authorization");
  if (route != ROUTE_NONE && routes[route].access == ROUTE_ADMIN)
    return access_check(&server->admin, given) >= 0 &&
           (server->admin.n_key > 0 || access_check(&server->access, given) >= 0);
  return (route != ROUTE_NONE && routes[route].access == ROUTE_OPEN) || access_check(&server->access, given) >= 0;
}

/* False after saying so. */
static bool asker_check(const struct server *server, struct http_request *request, int route) {
  bool admin = route != ROUTE_NONE && routes[route].access == ROUTE_ADMIN, may = may_ask(server, request, route);
  if (!may)
    reply_error(request, 401, "WWW-Authenticate: Bearer\r\n",
                admin ? "This path asks for the key of --admin-key: send it as Authorization: Bearer KEY."
                      : "This server asks for an API key: send it as Authorization: Bearer KEY.");
  else if (admin && server->admin.n_key == 0)
    reply_error(request, 403, NULL, "Nobody may do this here: start the server with --admin-key, and send that key.");
  return may && (!admin || server->admin.n_key > 0);
}

/* Images come within the body. */
static size_t body_limit(const struct http_request *request, const struct route *route) {
  const struct served_engine *served = server_loop_current(request->loop);
  bool images = (route->kind == REQUEST_GENERATE || route->kind == REQUEST_CHAT) && served &&
                spate_sees_images(served->engine, 1, NULL);
  return images ? LIMIT_IMAGE_BODY_BYTES : LIMIT_BODY_BYTES;
}

size_t route_check(const struct server *server, struct http_request *request) {
  int index = route_find(request->head.path);
  enum method method = http_method_find(request->head.method);
  if (!asker_check(server, request, index)) return 0;
  if (atomic_load(&server->draining) && (index == ROUTE_NONE || routes[index].access != ROUTE_OPEN)) {
    reply_error(request, 503, "Retry-After: 1\r\n", "The server is shutting down: send the request elsewhere.");
    return 0;
  }
  if (method == METHOD_OTHER && !http_method_known(request->head.method)) {
    refuse_unknown(request);
    return 0;
  }
  if (index == ROUTE_NONE) {
    refuse_path(request);
    return 0;
  }
  const struct route *route = &routes[index];
  char allow[ALLOW_MAX];
  if (method == METHOD_OPTIONS)
    http_respond(request, 204, NULL, allow_header(route, allow), slice_text(""));
  else if (!(route->methods & 1u << method))
    refuse_method(request, route);
  else if (method == METHOD_POST && !is_json(http_request_header(request, "content-type")))
    reply_error(request, 415, NULL, "The body must be JSON: send the header Content-Type: application/json.");
  return method == METHOD_POST ? body_limit(request, route) : 0;
}

void route_handle(struct server *server, struct http_request *request) {
  routes[route_find(request->head.path)].handle(server, request);
}
