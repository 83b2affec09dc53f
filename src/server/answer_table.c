/* The tables of answers. Constant data: any thread. */
#include "server/answer_table.h"

#include "base/json.h"

/* --- fields ------------------------------------------------------------------------------------------------------ */

/* A type is string, integer, number, boolean, null or the name of an object; "a|b" one of several, "{}a" an object of
 * any names, "[]" before any of these a list. */
struct answer_field {
  const char *object, *name, *type;
};

/* An object's fields stand together. */
static const struct answer_field fields[] = {
    {"GenerateAnswer", "text", "string"},
    {"GenerateAnswer", "logprobs", "[]Logprob"},
    {"GenerateAnswer", "prompt_logprobs", "[]Logprob"},
    {"GenerateAnswer", "usage", "Usage"},
    {"GenerateAnswer", "finish_reason", "string"},
    {"GenerateAnswer", "stop_reason", "string|integer|null"},
    {"GeneratePiece", "text", "string"},
    {"GeneratePiece", "logprobs", "[]Logprob"},
    {"GeneratePiece", "prompt_logprobs", "[]Logprob"},
    {"GeneratePiece", "finished", "boolean"},
    {"GeneratePiece", "generated_tokens", "integer"},
    {"GeneratePiece", "usage", "Usage"},
    {"GeneratePiece", "finish_reason", "string"},
    {"GeneratePiece", "stop_reason", "string|integer|null"},
    {"GeneratePiece", "error", "string"},
    {"Logprob", "id", "integer"},
    {"Logprob", "token", "string"},
    {"Logprob", "logprob", "number|null"},
    {"Logprob", "top_logprobs", "[]Logprob"},
    {"Usage", "prompt_tokens", "integer"},
    {"Usage", "completion_tokens", "integer"},
    {"Usage", "total_tokens", "integer"},
    {"Usage", "prompt_tokens_details", "PromptTokensDetails"},
    {"PromptTokensDetails", "cached_tokens", "integer"},
    {"Completion", "id", "string"},
    {"Completion", "object", "string"},
    {"Completion", "created", "integer"},
    {"Completion", "model", "string"},
    {"Completion", "system_fingerprint", "string"},
    {"Completion", "choices", "[]CompletionChoice"},
    {"Completion", "usage", "Usage|null"},
    {"CompletionChoice", "index", "integer"},
    {"CompletionChoice", "text", "string"},
    {"CompletionChoice", "logprobs", "CompletionLogprobs|null"},
    {"CompletionChoice", "prompt_logprobs", "[]{}PromptToken|null"},
    {"CompletionChoice", "finish_reason", "string|null"},
    {"CompletionChoice", "stop_reason", "string|integer|null"},
    {"CompletionLogprobs", "tokens", "[]string"},
    {"CompletionLogprobs", "token_logprobs", "[]number|null"},
    {"CompletionLogprobs", "top_logprobs", "[]{}number|null"},
    {"CompletionLogprobs", "text_offset", "[]integer"},
    {"PromptToken", "logprob", "number"},
    {"PromptToken", "decoded_token", "string"},
    {"ChatCompletion", "id", "string"},
    {"ChatCompletion", "object", "string"},
    {"ChatCompletion", "created", "integer"},
    {"ChatCompletion", "model", "string"},
    {"ChatCompletion", "system_fingerprint", "string"},
    {"ChatCompletion", "choices", "[]ChatChoice"},
    {"ChatCompletion", "usage", "Usage|null"},
    {"ChatCompletion", "prompt_logprobs", "[]{}PromptToken|null"},
    {"ChatChoice", "index", "integer"},
    {"ChatChoice", "message", "ChatMessage"},
    {"ChatChoice", "delta", "ChatMessage"},
    {"ChatChoice", "logprobs", "ChatLogprobs|null"},
    {"ChatChoice", "finish_reason", "string|null"},
    {"ChatChoice", "stop_reason", "string|integer|null"},
    {"ChatMessage", "role", "string"},
    {"ChatMessage", "content", "string|null"},
    {"ChatMessage", "refusal", "string|null"},
    {"ChatMessage", "reasoning", "string"},
    {"ChatMessage", "reasoning_content", "string"},
    {"ChatMessage", "tool_calls", "[]ToolCall"},
    {"ToolCall", "index", "integer"},
    {"ToolCall", "id", "string"},
    {"ToolCall", "type", "string"},
    {"ToolCall", "function", "CalledFunction"},
    {"CalledFunction", "name", "string"},
    {"CalledFunction", "arguments", "string"},
    {"ChatLogprobs", "content", "[]ChatToken"},
    {"ChatToken", "token", "string"},
    {"ChatToken", "logprob", "number"},
    {"ChatToken", "bytes", "[]integer"},
    {"ChatToken", "top_logprobs", "[]ChatToken"},
    {"Embeddings", "object", "string"},
    {"Embeddings", "data", "[]Embedding"},
    {"Embeddings", "model", "string"},
    {"Embeddings", "usage", "TextUsage"},
    {"Embedding", "object", "string"},
    {"Embedding", "index", "integer"},
    {"Embedding", "embedding", "string|[]number"},
    {"TextUsage", "prompt_tokens", "integer"},
    {"TextUsage", "total_tokens", "integer"},
    {"Ranking", "id", "string"},
    {"Ranking", "model", "string"},
    {"Ranking", "results", "[]Ranked"},
    {"Ranking", "usage", "TextUsage"},
    {"Ranked", "index", "integer"},
    {"Ranked", "relevance_score", "number"},
    {"Ranked", "document", "RankedDocument"},
    {"RankedDocument", "text", "string"},
    {"CohereRanking", "id", "string"},
    {"CohereRanking", "results", "[]Ranked"},
    {"CohereRanking", "meta", "CohereMeta"},
    {"CohereMeta", "api_version", "CohereVersion"},
    {"CohereMeta", "tokens", "CohereTokens"},
    {"CohereVersion", "version", "string"},
    {"CohereTokens", "input_tokens", "integer"},
    {"Scores", "id", "string"},
    {"Scores", "object", "string"},
    {"Scores", "created", "integer"},
    {"Scores", "model", "string"},
    {"Scores", "data", "[]Score"},
    {"Scores", "usage", "TextUsage"},
    {"Score", "index", "integer"},
    {"Score", "object", "string"},
    {"Score", "score", "number"},
    {"Classes", "id", "string"},
    {"Classes", "object", "string"},
    {"Classes", "created", "integer"},
    {"Classes", "model", "string"},
    {"Classes", "data", "[]Class"},
    {"Classes", "usage", "TextUsage"},
    {"Class", "index", "integer"},
    {"Class", "label", "string"},
    {"Class", "probs", "[]number"},
    {"Class", "num_classes", "integer"},
    {"Tokens", "count", "integer"},
    {"Tokens", "max_model_len", "integer"},
    {"Tokens", "tokens", "[]integer"},
    {"Text", "prompt", "string"},
    {"Health", "status", "string"},
    {"Health", "generation", "integer"},
    {"Health", "model", "string"},
    {"Health", "error", "string"},
    {"State", "status", "string"},
    {"EngineState", "status", "string"},
    {"EngineState", "generation", "integer"},
    {"EngineState", "seconds", "number"},
    {"AdapterState", "status", "string"},
    {"AdapterState", "lora_name", "string"},
    {"Sleeping", "is_sleeping", "boolean"},
    {"Version", "version", "string"},
    {"Models", "object", "string"},
    {"Models", "data", "[]Model"},
    {"Model", "id", "string"},
    {"Model", "object", "string"},
    {"Model", "created", "integer"},
    {"Model", "owned_by", "string"},
    {"Model", "parent", "string|null"},
    {"Model", "max_model_len", "integer"},
    {"Error", "error", "string|OpenAIError"},
    {"OpenAIError", "message", "string"},
    {"OpenAIError", "type", "string"},
    {"OpenAIError", "param", "string|null"},
    {"OpenAIError", "code", "integer"},
};

enum { N_FIELD = sizeof fields / sizeof *fields };

static bool object_begins(int i) { return i == 0 || strcmp(fields[i - 1].object, fields[i].object) != 0; }

static void type_write(struct slice type, struct buffer *out);

static void choice_write(struct slice type, struct buffer *out) {
  buffer_text(out, "{\"oneOf\":[");
  while (true) {
    const uint8_t *bar = memchr(type.data, '|', type.size);
    type_write(slice_make(type.data, bar ? (size_t)(bar - type.data) : type.size), out);
    if (!bar) break;
    buffer_text(out, ",");
    type = slice_make(bar + 1, type.size - (size_t)(bar + 1 - type.data));
  }
  buffer_text(out, "]}");
}

static void type_write(struct slice type, struct buffer *out) {
  bool is_list = slice_starts(type, "[]"), is_choice = !is_list && memchr(type.data, '|', type.size);
  if (is_choice) {
    choice_write(type, out);
  } else if (is_list || slice_starts(type, "{}")) {
    buffer_text(out, is_list ? "{\"type\":\"array\",\"items\":" : "{\"type\":\"object\",\"additionalProperties\":");
    type_write(slice_make(type.data + 2, type.size - 2), out);
    buffer_text(out, "}");
  } else {
    bool is_object = type.data[0] >= 'A' && type.data[0] <= 'Z';
    buffer_print(out, is_object ? "{\"$ref\":\"#/components/schemas/%.*s\"}" : "{\"type\":\"%.*s\"}", SLICE_ARGS(type));
  }
}

bool answer_schemas_write(struct buffer *out) {
  for (int i = 0; i < N_FIELD; i++) {
    if (object_begins(i))
      buffer_print(out, "%s\"%s\":{\"type\":\"object\",\"properties\":{", i ? "}}," : "", fields[i].object);
    buffer_print(out, "%s\"%s\":", object_begins(i) ? "" : ",", fields[i].name);
    type_write(slice_text(fields[i].type), out);
  }
  return buffer_text(out, "}}");
}

/* "[]a|b" as "list of a or b". */
static void type_say(const char *type, struct buffer *out) {
  for (const char *c = type; *c; c++) {
    if (strncmp(c, "[]", 2) == 0 || strncmp(c, "{}", 2) == 0)
      buffer_text(out, *c++ == '[' ? "list of " : "object of ");
    else if (*c == '|')
      buffer_text(out, " or ");
    else
      buffer_append(out, c, 1);
  }
}

bool answer_fields_markdown(struct buffer *out) {
  buffer_text(out, "| object | fields |\n|---|---|");
  for (int i = 0; i < N_FIELD; i++) {
    if (object_begins(i))
      buffer_print(out, "%s\n| %s | ", i ? " |" : "", fields[i].object);
    else
      buffer_text(out, ", ");
    buffer_print(out, "`%s`: ", fields[i].name);
    type_say(fields[i].type, out);
  }
  return buffer_text(out, " |\n");
}

/* --- statuses ---------------------------------------------------------------------------------------------------- */

/* Which operations may answer with it. */
enum { OF_NONE = 0, OF_KEYED = 1, OF_BODY = 2, OF_WORK = 4, OF_MODEL = 8, OF_ALL = 16, OF_ADMIN = 32 };

static const struct {
  int status;
  unsigned of;
  const char *when;
} statuses[] = {
    {400, OF_ALL, "the head, the JSON, a field or the prompt's length is wrong; the head is over 16 KiB"},
    {401, OF_KEYED,
     "`--api-key` or `--admin-key` asks for a key, and none or another one came (`WWW-Authenticate: Bearer`)"},
    {403, OF_ADMIN, "the server has no `--admin-key`"},
    {404, OF_MODEL | OF_ADMIN, "no such path; no such model or adapter"},
    {405, OF_NONE, "not this method (`Allow` lists those that are)"},
    {408, OF_ALL, "the head or the body did not arrive in time"},
    {409, OF_ADMIN, "a reload, a sleep or a wake is under way"},
    {413, OF_ALL, "the body is over 1 MiB, or there is one where none is taken"},
    {414, OF_ALL, "the URL is over 8 KiB"},
    {415, OF_BODY, "the body is not `application/json`"},
    {417, OF_ALL, "`Expect` is something else than `100-continue`"},
    {429, OF_ALL,
     "`--max-queue` requests are waiting already, or `--max-queue-tokens` tokens of them, or 16 MiB of bodies of "
     "`/tokenize` and `/detokenize`, or a request of a better priority has taken its place, or it would begin after "
     "its "
     "`timeout_s`, or `--max-connections-per-ip` connections of the client's address are open (`Retry-After` says when "
     "to "
     "come back)"},
    {431, OF_ALL, "the head, though not over 16 KiB, has a header line over 8 KiB or more than 100 of them"},
    {500, OF_ALL,
     "a mistake of the server's own, no memory for the answer, or logits of this request that are not finite"},
    {501, OF_ALL, "the method is one that HTTP does not have"},
    {503, OF_ALL,
     "the engine has stopped, the server sleeps or is stopping, `--limit-concurrency` connections are open, or 256 MiB "
     "of "
     "request "
     "bodies are arriving (with `Retry-After` where that helps)"},
    {504, OF_WORK, "the `timeout_s` of the request has passed"},
    {505, OF_ALL, "the version of HTTP is not 1.0 or 1.1"},
};

enum { N_STATUS = sizeof statuses / sizeof *statuses };

static unsigned operation_kinds(const struct route *route, enum method method) {
  bool names_model = (route->kind & ~REQUEST_GENERATE) || strchr(route->path, '{');
  return OF_ALL | (route->access == ROUTE_OPEN ? 0u : OF_KEYED) | (method == METHOD_POST ? OF_BODY : 0u) |
         (route->kind ? OF_WORK : 0u) | (route->access == ROUTE_ADMIN ? OF_ADMIN : 0u) | (names_model ? OF_MODEL : 0u);
}

bool answer_statuses_write(const struct route *route, enum method method, struct buffer *out) {
  unsigned kinds = operation_kinds(route, method);
  for (int i = 0; i < N_STATUS; i++)
    if (statuses[i].of & kinds)
      buffer_print(out, ",\"%d\":{\"$ref\":\"#/components/responses/%d\"}", statuses[i].status, statuses[i].status);
  return !out->failed;
}

bool answer_errors_write(struct buffer *out) {
  for (int i = 0; i < N_STATUS; i++) {
    buffer_print(out, "%s\"%d\":{\"description\":", i ? "," : "", statuses[i].status);
    json_write_string(out, slice_text(statuses[i].when));
    buffer_text(out, ",\"content\":{\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/Error\"}}}}");
  }
  return !out->failed;
}

bool answer_statuses_markdown(struct buffer *out) {
  buffer_text(out, "| status | when |\n|---|---|\n");
  for (int i = 0; i < N_STATUS; i++) buffer_print(out, "| %d | %s |\n", statuses[i].status, statuses[i].when);
  return !out->failed;
}
