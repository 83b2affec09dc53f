/* libhttp-parser on one whole head: its callbacks come once for each part and point into the given bytes. */
#include "http/head_parse.h"

#include "http/http_query.h"

#include <http_parser.h>
#include <strings.h>

struct parse {
  struct http_head *head;
  struct slice url;
  bool complete;
};

static int on_url(http_parser *parser, const char *at, size_t size) {
  struct parse *parse = parser->data;
  parse->url = slice_make(at, size);
  return 0;
}

static int on_name(http_parser *parser, const char *at, size_t size) {
  struct http_head *head = ((struct parse *)parser->data)->head;
  if (head->n_header == LIMIT_HEADERS) return 1;
  head->header[head->n_header++].name = slice_make(at, size);
  return 0;
}

static int on_value(http_parser *parser, const char *at, size_t size) {
  struct http_head *head = ((struct parse *)parser->data)->head;
  while (size && (at[size - 1] == ' ' || at[size - 1] == '\t')) size--;
  head->header[head->n_header - 1].value = slice_make(at, size);
  return 0;
}

/* The gate has let through "chunked" alone, but the parser overlooks one that a tab follows: a body would be read as
 * the next request. */
static bool is_chunked(const struct http_head *head) {
  static const char name[] = "transfer-encoding";
  for (int i = 0; i < head->n_header; i++) {
    struct slice given = head->header[i].name;
    if (given.size == sizeof name - 1 && strncasecmp((const char *)given.data, name, given.size) == 0) return true;
  }
  return false;
}

static int on_head(http_parser *parser) {
  struct parse *parse = parser->data;
  struct http_head *head = parse->head;
  parse->complete = true;
  head->minor_version = parser->http_minor;
  head->keep_alive = http_should_keep_alive(parser);
  head->chunked = is_chunked(head);
  head->content_length = parser->flags & F_CONTENTLENGTH ? parser->content_length : 0;
  return 0;
}

static struct head_verdict split_url(struct slice url, char *bytes, struct http_head *head) {
  struct http_parser_url parts;
  http_parser_url_init(&parts);
  if (http_parser_parse_url((const char *)url.data, url.size, false, &parts) != 0) {
    return (struct head_verdict){400, "The URL is malformed."};
  }
  if (parts.field_set & (1 << UF_QUERY)) {
    head->query = slice_make(url.data + parts.field_data[UF_QUERY].off, parts.field_data[UF_QUERY].len);
  }
  head->path = slice_text("/"); /* of http://host and http://host?query */
  if (!(parts.field_set & (1 << UF_PATH))) return (struct head_verdict){0};
  struct slice encoded = slice_make(url.data + parts.field_data[UF_PATH].off, parts.field_data[UF_PATH].len);
  char *out = bytes + ((const char *)encoded.data - bytes);
  size_t size;
  bool decoded = http_percent_decode(encoded, false, out, &size);
  if (!decoded || memchr(out, 0, size)) return (struct head_verdict){400, "The URL has a bad percent-encoding."};
  head->path = slice_make(out, size);
  return (struct head_verdict){0};
}

/* What a method means is the handler's matter (it may say which others a path takes), and the parser knows only some:
 * it gets GET for all of them, which changes nothing about the rest. */
struct head_verdict head_parse(char *bytes, size_t size, struct http_head *out) {
  static const http_parser_settings settings = {
      .on_url = on_url, .on_header_field = on_name, .on_header_value = on_value, .on_headers_complete = on_head};
  const char *space = memchr(bytes, ' ', size);
  size_t method_size = space ? (size_t)(space - bytes) : 0;
  *out = (struct http_head){.method = slice_make(bytes, method_size)};
  struct parse parse = {.head = out};
  http_parser parser;
  http_parser_init(&parser, HTTP_REQUEST);
  parser.data = &parse;
  http_parser_execute(&parser, &settings, "GET", 3);
  http_parser_execute(&parser, &settings, bytes + method_size, size - method_size);
  bool sound = method_size > 0 && HTTP_PARSER_ERRNO(&parser) == HPE_OK && parse.complete;
  if (!sound) return (struct head_verdict){400, "The head is malformed."};
  return split_url(parse.url, bytes, out);
}

bool http_method_known(struct slice name) {
#define METHOD_NAME(number, name, text) #text,
  static const char *const names[] = {HTTP_METHOD_MAP(METHOD_NAME) "QUERY" /* younger than that list */};
#undef METHOD_NAME
  size_t i = 0;
  while (i < sizeof names / sizeof *names && !slice_is(name, names[i])) i++;
  return i < sizeof names / sizeof *names;
}

const char *http_status_text(int status) { return http_status_str((enum http_status)status); }
