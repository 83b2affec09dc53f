/* OpenAPI and Markdown writers. Constant output. */
#include "server/openapi.h"

#include "base/json.h"
#include "base/limits.h"
#include "server/answer_table.h"
#include "server/request_fields.h"
#include "server/routes.h"

#include <strings.h>

/* --- fields ------------------------------------------------------------------------------------------------------ */

static bool field_told(const struct request_field *field, enum request_kind kind) {
  return (field->kinds & (unsigned)kind) && field->type != FIELD_LATER;
}

static void write_range(const struct request_field *field, struct buffer *out) {
  buffer_text(out, field->above_min ? ",\"exclusiveMinimum\":" : ",\"minimum\":");
  json_write_number(out, field->min);
  buffer_text(out, ",\"maximum\":");
  json_write_number(out, field->max);
}

#define TOKEN_IDS "{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"integer\",\"minimum\":0}}"

#define ADAPTER                                                                                                        \
  "{\"type\":\"object\",\"required\":[\"lora_name\"],\"additionalProperties\":false,\"properties\":{"                  \
  "\"lora_name\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":255},\"lora_scale\":{\"type\":\"number\","         \
  "\"default\":1}}}"

/* Of fields that hold more than one value; each %d is the field's max. */
static const char *const list_schemas[] = {
    [FIELD_PROMPTS] =
        "\"oneOf\":[{\"type\":\"string\"}," TOKEN_IDS ",{\"type\":\"array\",\"minItems\":1,\"maxItems\":%d,"
        "\"items\":{\"oneOf\":[{\"type\":\"string\"}," TOKEN_IDS "]}}]",
    [FIELD_MESSAGES] = "\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"object\",\"properties\":{\"role\":{"
                       "\"type\":\"string\"},\"content\":{}}}",
    [FIELD_TEXTS] =
        "\"oneOf\":[{\"type\":\"string\",\"minLength\":1},{\"type\":\"array\",\"items\":{\"type\":\"string\","
        "\"minLength\":1},\"maxItems\":%d}]",
    [FIELD_IMAGES] =
        "\"oneOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"maxItems\":%d}]",
    [FIELD_TOKENS] = "\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":0},\"maxItems\":%d",
    [FIELD_BIASES] = "\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[0-9]+$\"},\"maxProperties\":%d,"
                     "\"additionalProperties\":{\"type\":\"number\",\"minimum\":-100,\"maximum\":100}",
    [FIELD_ADAPTERS] = "\"oneOf\":[" ADAPTER ",{\"type\":\"array\",\"items\":" ADAPTER ",\"maxItems\":%d}]",
    [FIELD_STREAM_OPTIONS] = "\"type\":\"object\",\"properties\":{\"include_usage\":{\"type\":\"boolean\"}}",
    [FIELD_FORMAT] = "\"type\":\"object\",\"required\":[\"type\"],\"properties\":{\"type\":{\"const\":\"text\"}}",
    [FIELD_VARIABLES] = "\"type\":\"object\"",
    [FIELD_WORD] = "\"type\":\"string\"",
    [FIELD_TOOLS] =
        "\"type\":\"array\",\"minItems\":1,\"maxItems\":%d,\"items\":{\"type\":\"object\",\"required\":[\"type\","
        "\"function\"],\"properties\":{\"type\":{\"const\":\"function\"},\"function\":{\"type\":\"object\","
        "\"required\":"
        "[\"name\"],\"properties\":{\"name\":{\"type\":\"string\",\"pattern\":\"^[A-Za-z0-9_.-]{1,127}$\"},"
        "\"description\":{"
        "\"type\":\"string\"},\"parameters\":{\"type\":\"object\"}}}}}",
};
_Static_assert(LIMIT_LOGIT_BIAS == 100, "the schema above names the limit");

static void write_list_schema(const struct request_field *field, struct buffer *out) {
  const char *schema = list_schemas[field->type], *mark = strstr(schema, "%d");
  size_t before = mark ? (size_t)(mark - schema) : strlen(schema);
  buffer_append(out, schema, before);
  if (mark) buffer_print(out, "%d%s", (int)field->max, mark + 2);
}

static void write_schema(const struct request_field *field, struct buffer *out) {
  switch (field->type) {
  case FIELD_PROMPT: buffer_text(out, "\"type\":\"string\""); break;
  case FIELD_NAME: buffer_print(out, "\"type\":\"string\",\"minLength\":1,\"maxLength\":%d", (int)field->max); break;
  case FIELD_BOOL: buffer_text(out, "\"type\":\"boolean\""); break;
  case FIELD_INT:
    buffer_text(out, "\"type\":\"integer\"");
    write_range(field, out);
    break;
  case FIELD_FLOAT:
    buffer_text(out, "\"type\":\"number\"");
    write_range(field, out);
    break;
  case FIELD_SEED: buffer_text(out, "\"type\":\"integer\",\"format\":\"int64\""); break;
  case FIELD_EARLY: buffer_text(out, "\"enum\":[true,false,\"never\"]"); break;
  case FIELD_TOOL_CHOICE: buffer_text(out, "\"enum\":[\"auto\",\"none\"]"); break;
  case FIELD_FALSE: buffer_text(out, "\"const\":false"); break;
  case FIELD_ONE: buffer_text(out, "\"type\":\"integer\",\"const\":1"); break;
  case FIELD_LATER: break;
  default: write_list_schema(field, out); break;
  }
}

static void write_description(const struct request_field *field, struct buffer *out) {
  struct buffer text;
  buffer_init(&text, 1024);
  buffer_text(&text, field->description);
  if (field->fallback) buffer_print(&text, " Default: %s.", field->fallback);
  if (field->alias) buffer_print(&text, " Also called %s.", field->alias);
  buffer_text(out, "\"description\":");
  json_write_string(out, buffer_slice(&text));
  buffer_release(&text);
}

static void write_parameters(struct buffer *out) {
  int n_field;
  const struct request_field *fields = request_fields(&n_field);
  buffer_text(out, "\"parameters\":[");
  for (int i = 0, n = 0; i < n_field; i++) {
    if (!field_told(&fields[i], REQUEST_GENERATE)) continue;
    buffer_print(out, "%s{\"name\":\"%s\",\"in\":\"query\",\"required\":%s,", n++ ? "," : "", fields[i].name,
                 fields[i].required ? "true" : "false");
    write_description(&fields[i], out);
    buffer_text(out, ",\"schema\":{");
    write_schema(&fields[i], out);
    buffer_text(out, "}}");
  }
  buffer_text(out, "],");
}

static const char *schema_name(enum request_kind kind) {
  if (kind == REQUEST_COMPLETION) return "Completion";
  return kind == REQUEST_CHAT ? "ChatCompletion" : "Generate";
}

/* An operator may leave it out. */
static void write_body(const struct route *route, struct buffer *out) {
  buffer_print(out, "\"requestBody\":{\"required\":%s,\"content\":{\"application/json\":{\"schema\":",
               route->access == ROUTE_ADMIN ? "false" : "true");
  if (!route->body_schema)
    buffer_print(out, "{\"$ref\":\"#/components/schemas/%sRequest\"}", schema_name(route->kind));
  else
    buffer_text(out, route->body_schema);
  buffer_text(out, "}}},");
}

/* OpenAI's clients are taken by the names that they use: stream, not streaming. */
static const char *name_for(const struct request_field *field, enum request_kind kind) {
  return kind != REQUEST_GENERATE && field->alias ? field->alias : field->name;
}

static void write_request_schema(enum request_kind kind, struct buffer *out) {
  int n_field;
  const struct request_field *fields = request_fields(&n_field);
  buffer_print(out, "\"%sRequest\":{\"type\":\"object\",\"additionalProperties\":%s,\"required\":[", schema_name(kind),
               kind == REQUEST_GENERATE ? "false" : "true");
  for (int i = 0, n = 0; i < n_field; i++)
    if (fields[i].required && field_told(&fields[i], kind))
      buffer_print(out, "%s\"%s\"", n++ ? "," : "", fields[i].name);
  buffer_text(out, "],\"properties\":{");
  for (int i = 0, n = 0; i < n_field; i++) {
    if (!field_told(&fields[i], kind)) continue;
    buffer_print(out, "%s\"%s\":{", n++ ? "," : "", name_for(&fields[i], kind));
    write_schema(&fields[i], out);
    buffer_text(out, ",");
    write_description(&fields[i], out);
    buffer_text(out, "}");
  }
  buffer_text(out, "}}");
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

static void write_content(const char *type, const char *object, bool first, struct buffer *out) {
  buffer_print(out, "%s\"%s\":{", first ? "" : ",", type);
  if (object) buffer_print(out, "\"schema\":{\"$ref\":\"#/components/schemas/%s\"}", object);
  buffer_text(out, "}");
}

/* Streams of OpenAI's paths are made of the objects that whole answers are. */
static void write_responses(const struct route *route, enum method method, struct buffer *out) {
  const char *piece = route->kind == REQUEST_GENERATE ? "GeneratePiece" : route->answer;
  buffer_text(out, "\"responses\":{\"200\":{\"description\":\"OK\",\"content\":{");
  write_content(route->content_type, route->answer, true, out);
  if (route->kind & REQUEST_ANY) write_content("text/event-stream", piece, false, out);
  if (route->kind == REQUEST_GENERATE) write_content("application/x-ndjson", piece, false, out);
  buffer_text(out, "}}");
  answer_statuses_write(route, method, out);
  buffer_text(out, "}");
}

/* Of paths that take no fields of generation. */
static const struct {
  const char *path, *parameters;
} plain_parameters[] = {
    {"/v1/models/{model}", "{\"name\":\"model\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}}"},
    {"/sleep",
     "{\"name\":\"level\",\"in\":\"query\",\"description\":\"Makes no difference here.\",\"schema\":{\"enum\":[1,2]}},"
     "{\"name\":\"mode\",\"in\":\"query\",\"description\":\"Running answers end first, or are cancelled.\","
     "\"schema\":{\"enum\":[\"wait\",\"abort\"],\"default\":\"wait\"}},"
     "{\"name\":\"timeout_s\",\"in\":\"query\",\"description\":\"Answers that take longer are cancelled.\","
     "\"schema\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":86400,\"default\":600}}"},
};

static void write_operation(const struct route *route, enum method method, bool first, struct buffer *out) {
  bool generates = route->kind == REQUEST_GENERATE;
  const char *name = method == METHOD_POST ? "post" : "get";
  buffer_print(out, "%s\"%s\":{\"summary\":\"%s\",", first ? "" : ",", name, route->summary);
  if (method == METHOD_POST) write_body(route, out);
  if (generates && method == METHOD_GET) write_parameters(out);
  for (size_t i = 0; i < sizeof plain_parameters / sizeof *plain_parameters; i++)
    if (strcmp(route->path, plain_parameters[i].path) == 0)
      buffer_print(out, "\"parameters\":[%s],", plain_parameters[i].parameters);
  write_responses(route, method, out);
  buffer_text(out, "}");
}

static void write_path(const struct route *route, struct buffer *out) {
  buffer_print(out, "\"%s\":{", route->path);
  bool first = true;
  for (enum method method = METHOD_GET; method < METHOD_COUNT; method++) {
    if (!(route->methods & 1u << method) || method == METHOD_HEAD) continue;
    write_operation(route, method, first, out);
    first = false;
  }
  buffer_text(out, "}");
}

bool openapi_write(struct slice root_path, struct buffer *out) {
  buffer_print(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Spate\",\"version\":\"%s\"},", spate_version());
  if (root_path.size) {
    buffer_text(out, "\"servers\":[{\"url\":");
    json_write_string(out, root_path);
    buffer_text(out, "}],");
  }
  buffer_text(out, "\"paths\":{");
  for (int i = 0; i < ROUTE_COUNT; i++) {
    if (i) buffer_text(out, ",");
    write_path(&routes[i], out);
  }
  buffer_text(out, "},\"components\":{\"schemas\":{");
  write_request_schema(REQUEST_GENERATE, out);
  buffer_text(out, ",");
  write_request_schema(REQUEST_COMPLETION, out);
  buffer_text(out, ",");
  write_request_schema(REQUEST_CHAT, out);
  buffer_text(out, ",");
  answer_schemas_write(out);
  buffer_text(out, "},\"responses\":{");
  answer_errors_write(out);
  return buffer_text(out, "}}}");
}

/* Where a field is taken, when not everywhere. */
static const char *kinds_text(unsigned kinds) {
  switch (kinds) {
  case REQUEST_GENERATE: return " Only `/generate`.";
  case REQUEST_COMPLETION: return " Only `/v1/completions`.";
  case REQUEST_CHAT: return " Only `/v1/chat/completions`.";
  case REQUEST_GENERATE | REQUEST_CHAT: return " Not `/v1/completions`.";
  case REQUEST_COMPLETION | REQUEST_CHAT: return " Not `/generate`.";
  default: return "";
  }
}

bool request_fields_markdown(struct buffer *out) {
  int n_field;
  const struct request_field *fields = request_fields(&n_field);
  buffer_text(out, "| field | value | default | |\n|---|---|---|---|\n");
  for (int i = 0; i < n_field; i++) {
    if (fields[i].type == FIELD_LATER) continue;
    buffer_print(out, "| `%s`", fields[i].name);
    if (fields[i].alias) buffer_print(out, " or `%s`", fields[i].alias);
    buffer_text(out, " | ");
    request_field_expect(&fields[i], out);
    buffer_print(out, " | %s | %s%s |\n", fields[i].fallback ? fields[i].fallback : "(required)", fields[i].description,
                 kinds_text(fields[i].kinds));
  }
  buffer_text(out, "\nKnown and refused with a sentence:");
  for (int i = 0; i < n_field; i++)
    if (fields[i].type == FIELD_LATER) buffer_print(out, " `%s`", fields[i].name);
  return buffer_text(out,
                     ". Any other field of `/generate` is an error that names the nearest one; OpenAI's paths ignore "
                     "it and count it (`http_ignored_fields_total`).\n");
}
