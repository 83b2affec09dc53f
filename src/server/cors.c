/* The headers of cross-origin answers. Every text written here is bounded: by the command line, or by ECHO_MAX. */
#include "server/cors.h"

#include "http/http_server.h"

#include <string.h>

enum { ECHO_MAX = 1024, LIST_MAX = 1024 };
_Static_assert(2 * ECHO_MAX + LIST_MAX + 512 <= HTTP_EXTRA_HEAD_BYTES, "what is written here fits");

static bool is_any(const char *list) { return list && strcmp(list, "*") == 0; }

static bool list_has(const char *list, struct slice wanted) {
  for (const char *from = list, *end; from; from = *end ? end + 1 : NULL) {
    from += strspn(from, " ");
    end = from + strcspn(from, ",");
    if ((size_t)(end - from) == wanted.size && memcmp(from, wanted.data, wanted.size) == 0) return true;
  }
  return false;
}

static bool list_check(const char *option, const char *list, struct error *error) {
  if (!list) return true;
  size_t size = strlen(list);
  for (size_t i = 0; i < size; i++)
    if (list[i] < ' ' || list[i] > '~' || list[i] == '"') size = 0;
  return (size > 0 && size <= LIST_MAX) ||
         error_set(error, ERROR_INVALID,
                   "--%s is no list of 1 to %d printable characters: separate its items with commas, without quotes.",
                   option, LIST_MAX);
}

bool cors_check(const struct cors_options *options, struct error *error) {
  if (!options->origins && (options->methods || options->headers || options->credentials))
    return error_set(error, ERROR_INVALID,
                     "--allowed-methods, --allowed-headers and --allow-credentials say what pages of other origins may "
                     "do: name these with --allowed-origins.");
  return list_check("allowed-origins", options->origins, error) &&
         list_check("allowed-methods", options->methods, error) &&
         list_check("allowed-headers", options->headers, error);
}

/* The page's origin when it is one of those allowed, else a slice whose data is NULL. */
static struct slice origin_allowed(const struct cors_options *options, const struct http_request *request) {
  struct slice origin = http_request_header(request, "origin");
  bool fits = options->origins && origin.size > 0 && origin.size <= ECHO_MAX;
  return fits && (is_any(options->origins) || list_has(options->origins, origin)) ? origin : (struct slice){0};
}

bool cors_is_preflight(const struct cors_options *options, const struct http_request *request) {
  return slice_is(request->head.method, "OPTIONS") && origin_allowed(options, request).data &&
         http_request_header(request, "access-control-request-method").data;
}

static void write_preflight(const struct cors_options *options, const struct http_request *request,
                            struct buffer *out) {
  const char *methods = is_any(options->methods) ? "GET, HEAD, POST, OPTIONS" : options->methods;
  struct slice asked = http_request_header(request, "access-control-request-headers");
  buffer_print(out, "Access-Control-Allow-Methods: %s\r\nAccess-Control-Max-Age: 600\r\n", methods ? methods : "GET");
  if (is_any(options->headers) && asked.size > 0 && asked.size <= ECHO_MAX) {
    buffer_print(out, "Access-Control-Allow-Headers: %.*s\r\n", (int)asked.size, (const char *)asked.data);
  } else if (options->headers && !is_any(options->headers)) {
    buffer_print(out, "Access-Control-Allow-Headers: %s\r\n", options->headers);
  }
}

void cors_write_headers(const struct cors_options *options, const struct http_request *request, struct buffer *out) {
  if (!options->origins) return;
  bool same_for_all = is_any(options->origins) && !options->credentials;
  if (!same_for_all) buffer_text(out, "Vary: Origin\r\n"); /* for caches, also where the origin is not allowed */
  struct slice origin = origin_allowed(options, request);
  if (!origin.data) return;
  if (same_for_all) origin = slice_text("*"); /* browsers send credentials to no such answer */
  buffer_print(out, "Access-Control-Allow-Origin: %.*s\r\n", (int)origin.size, (const char *)origin.data);
  if (options->credentials) buffer_text(out, "Access-Control-Allow-Credentials: true\r\n");
  if (cors_is_preflight(options, request)) write_preflight(options, request, out);
}
