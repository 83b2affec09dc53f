/* The head gate and the parser behind it, from tables {bytes, status, sentence}. */
#include "base/buffer.h"
#include "http/head_gate.h"
#include "http/head_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define GET         "GET / HTTP/1.1\r\n"
#define POST        "POST / HTTP/1.1\r\nHost: a\r\n"
#define BYTES(text) (text), sizeof(text) - 1

/* Delimits and judges as a connection does; 0 also when more bytes are awaited. */
static struct head_verdict judge(const char *bytes, size_t size, bool *complete) {
  size_t scanned = 0, head_size = size;
  struct slice input = slice_make(bytes, size);
  *complete = head_gate_find_end(input, &scanned, &head_size);
  if (!*complete && size <= LIMIT_HEAD_BYTES) return (struct head_verdict){0};
  return head_gate_check(slice_make(bytes, head_size));
}

static void test_refused(void **state) {
  (void)state;
  static const char no_lf[] = "The head has a carriage return without a line feed.";
  static const char no_cr[] = "The head has a line feed without a carriage return.";
  static const char control[] = "The head has a control byte.";
  static const char form[] = "The request line must read METHOD URL HTTP/1.1, with single spaces.";
  static const char url[] = "The URL of the request must start with \"/\" or \"http://\".";
  static const char encode[] = "The URL has a byte that must be percent-encoded.";
  static const char method[] = "The request line must start with a method.";
  static const char digits[] = "Content-Length must be decimal digits.";
  static const char chunked[] = "Transfer-Encoding must be chunked and nothing else.";
  static const char leading[] = "A header line starts with white space.";
  static const char before_colon[] = "A header name is followed by white space before its colon.";
  static const char token[] = "A header name is not a token.";
  static const struct {
    const char *bytes;
    size_t size;
    int status;
    const char *reason;
  } table[] = {
      /* framing */
      {BYTES(POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"), 400, "Content-Length is given more than once."},
      {BYTES(POST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), 400, "Content-Length is given more than once."},
      {BYTES(POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400,
       "Content-Length and Transfer-Encoding exclude each other."},
      {BYTES(POST "Content-Length: +2\r\n\r\n"), 400, digits},
      {BYTES(POST "Content-Length: -2\r\n\r\n"), 400, digits},
      {BYTES(POST "Content-Length: 0x2\r\n\r\n"), 400, digits},
      {BYTES(POST "Content-Length: 1, 1\r\n\r\n"), 400, digits},
      {BYTES(POST "Content-Length: 1 1\r\n\r\n"), 400, digits},
      {BYTES(POST "Content-Length:\r\n\r\n"), 400, digits},
      {BYTES(POST "Content-Length: 1000000000000000000\r\n\r\n"), 400, "Content-Length has more than 18 digits."},
      {BYTES(POST "Transfer-Encoding: gzip, chunked\r\n\r\n"), 400, chunked},
      {BYTES(POST "Transfer-Encoding: chunked, chunked\r\n\r\n"), 400, chunked},
      {BYTES(POST "Transfer-Encoding: identity\r\n\r\n"), 400, chunked},
      {BYTES(POST "Transfer-Encoding: xchunked\r\n\r\n"), 400, chunked},
      {BYTES(POST "Transfer-Encoding: \"chunked\"\r\n\r\n"), 400, chunked},
      {BYTES(POST "Transfer-Encoding:\r\n\r\n"), 400, chunked},
      {BYTES(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 400,
       "Transfer-Encoding is given more than once."},
      {BYTES("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400,
       "Transfer-Encoding does not exist in HTTP/1.0."},
      /* lines and bytes */
      {BYTES(POST "Content-Length : 1\r\n\r\n"), 400, before_colon},
      {BYTES(POST "A\t: 1\r\n\r\n"), 400, before_colon},
      {BYTES(GET " Host: a\r\n\r\n"), 400, leading},
      {BYTES(GET "\tHost: a\r\n\r\n"), 400, leading},
      {BYTES(GET "Host: a\r\nA: b\r\n c\r\n\r\n"), 400, leading},
      {BYTES(GET "Host: a\rA: b\r\n\r\n"), 400, no_lf},
      {BYTES(GET "Host: a\r\r\n\r\n"), 400, no_lf},
      {BYTES("GET / HTTP/1.1\rHost: a\r\r"), 400, no_lf},
      {BYTES("GET / HTTP/1.1\nHost: a\n\n"), 400, no_cr},
      {BYTES(GET "Host: a\n\r\n"), 400, no_cr},
      {BYTES(GET "Host: a\r\n\n"), 400, no_cr},
      {BYTES("\n"), 400, no_cr},
      {BYTES(GET "Host: a\r\nA: b\0c\r\n\r\n"), 400, control},
      {BYTES(GET "Host: a\r\nA\0: b\r\n\r\n"), 400, control},
      {BYTES(GET "Host: a\r\nA: b\x01\r\n\r\n"), 400, control},
      {BYTES(GET "Host: a\r\nA: b\x7f\r\n\r\n"), 400, control},
      {BYTES("\x16\x03\x01\x02"), 400, control}, /* a TLS hello */
      {BYTES(GET "Host: a\r\nno colon\r\n\r\n"), 400, "A header line has no colon."},
      {BYTES(GET "Host: a\r\n: b\r\n\r\n"), 400, token},
      {BYTES(GET "Host: a\r\nA B: c\r\n\r\n"), 400, token},
      {BYTES(GET "Host: a\r\nA(B): c\r\n\r\n"), 400, token},
      {BYTES(GET "Host: a\r\nA\xc3\xa9: c\r\n\r\n"), 400, token},
      /* Host */
      {BYTES(GET "\r\n"), 400, "The Host header is missing."},
      {BYTES(GET "Host: a\r\nHost: a\r\n\r\n"), 400, "Host is given more than once."},
      {BYTES("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"), 400, "Host is given more than once."},
      {BYTES(GET "Host: a b\r\n\r\n"), 400, "Host has a byte that no host name may hold."},
      {BYTES(GET "Host: a/b\r\n\r\n"), 400, "Host has a byte that no host name may hold."},
      /* the request line */
      {BYTES("\r\n"), 400, "The head does not hold a request line and an empty line."},
      {BYTES(" GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400, method},
      {BYTES("G@T / HTTP/1.1\r\nHost: a\r\n\r\n"), 400, method},
      {BYTES("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400, method},
      {BYTES("GET\r\nHost: a\r\n\r\n"), 400, url},
      {BYTES("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), 400, url},
      {BYTES("GET x HTTP/1.1\r\nHost: a\r\n\r\n"), 400, url},
      {BYTES("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), 400, url},
      {BYTES("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"), 400, url},
      {BYTES("GET /# HTTP/1.1\r\nHost: a\r\n\r\n"), 400, encode},
      {BYTES("GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"), 400, encode},
      {BYTES("GET /\t HTTP/1.1\r\nHost: a\r\n\r\n"), 400, encode},
      {BYTES("GET /\r\n\r\n"), 400, form},
      {BYTES("GET /  HTTP/1.1\r\nHost: a\r\n\r\n"), 400, form},
      {BYTES("GET / HTTP/1.1 \r\nHost: a\r\n\r\n"), 400, form},
      {BYTES("GET / HTTP/1.10\r\nHost: a\r\n\r\n"), 400, form},
      {BYTES("GET / http/1.1\r\nHost: a\r\n\r\n"), 400, form},
      {BYTES("GET / HTTP/x.1\r\nHost: a\r\n\r\n"), 400, form},
      {BYTES("GET / HTTP/1.2\r\nHost: a\r\n\r\n"), 505, "The HTTP version must be 1.0 or 1.1."},
      {BYTES("PRI * HTTP/2.0\r\n\r\n"), 400, url},
      {BYTES("GET / HTTP/2.0\r\n\r\n"), 505, "The HTTP version must be 1.0 or 1.1."},
  };
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    bool complete;
    struct head_verdict verdict = judge(table[i].bytes, table[i].size, &complete);
    bool right = complete && verdict.status == table[i].status && strcmp(verdict.reason, table[i].reason) == 0;
    if (!right) fail_msg("%s\ngave %d %s", table[i].bytes, verdict.status, verdict.reason ? verdict.reason : "");
  }
}

/* A head of one request line with size bytes of URL, and n headers with size bytes of value each. */
static char *make_head(size_t url, int n, size_t value) {
  struct buffer out;
  buffer_init(&out, 1 << 20);
  buffer_text(&out, "GET /");
  for (size_t i = 1; i < url; i++) buffer_text(&out, "u");
  buffer_text(&out, " HTTP/1.1\r\nHost: a\r\n");
  for (int i = 1; i < n; i++) {
    buffer_text(&out, "N: ");
    for (size_t j = 0; j < value; j++) buffer_text(&out, "v");
    buffer_text(&out, "\r\n");
  }
  buffer_append(&out, "\r\n", 3); /* with the terminator */
  return out.data;
}

static void test_limits(void **state) {
  (void)state;
  static const char url[] = "The URL is longer than 8192 bytes.";
  static const char head[] = "The head is larger than 16384 bytes.";
  static const char lines[] = "The head has more than 100 header lines.";
  static const char line[] = "A header line is longer than 8192 bytes.";
  static const struct {
    size_t url, cut; /* cut: judge only so many bytes; 0: all */
    int n_header;
    size_t value;
    int status;
    const char *reason;
  } table[] = {
      {8192, 0, 1, 0, 0, ""},       {8193, 0, 1, 0, 414, url},        {16000, 0, 1, 0, 414, url},
      {100000, 0, 1, 0, 400, head}, {100000, 20000, 1, 0, 400, head}, {1, 0, 100, 1, 0, ""},
      {1, 0, 101, 1, 431, lines},   {1, 0, 2, 8189, 0, ""},           {1, 0, 2, 8190, 431, line},
      {1, 0, 90, 170, 0, ""},       {1, 0, 90, 180, 400, head},       {1, 16385, 2, 20000, 400, head},
      {1, 16384, 2, 20000, 0, ""},
  };
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    bool complete;
    char *bytes = make_head(table[i].url, table[i].n_header, table[i].value);
    struct head_verdict verdict = judge(bytes, table[i].cut ? table[i].cut : strlen(bytes), &complete);
    const char *reason = verdict.reason ? verdict.reason : "";
    bool right = verdict.status == table[i].status && strcmp(reason, table[i].reason) == 0;
    if (!right) fail_msg("row %zu gave %d %s", i, verdict.status, reason);
    free(bytes);
  }
}

static void test_parsed(void **state) {
  (void)state;
  static const struct {
    const char *bytes, *method, *path, *query;
    bool keep_alive, chunked;
    uint64_t length;
  } table[] = {
      {"GET /a?b=c&d HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/a", "b=c&d", true, false, 0},
      {"POST /%c3%A9+x HTTP/1.1\r\nHost: [::1]:8000\r\nContent-Length:  12 \r\n\r\n", "POST", "/\xc3\xa9+x", "", true,
       false, 12},
      {"POST / HTTP/1.1\r\nhost:a\r\ntransfer-encoding: Chunked\r\nConnection: Close\r\n\r\n", "POST", "/", "", false,
       true, 0},
      {"GET http://h:1/p?q HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/p", "q", true, false, 0},
      {"GET http://h HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/", "", true, false, 0},
      {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS", "*", "", true, false, 0},
      {"GET / HTTP/1.0\r\n\r\n", "GET", "/", "", false, false, 0},
      {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET", "/", "", true, false, 0},
      {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "GET", "/", "", true, false,
       0},
  };
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    bool complete;
    struct http_head head;
    char *bytes = strdup(table[i].bytes);
    size_t size = strlen(bytes);
    assert_int_equal(judge(bytes, size, &complete).status, 0);
    struct head_verdict verdict = head_parse(bytes, size, &head);
    if (!complete || verdict.status) fail_msg("%s\ngave %d", table[i].bytes, verdict.status);
    assert_true(slice_is(head.method, table[i].method) && slice_is(head.path, table[i].path));
    assert_true(slice_is(head.query, table[i].query));
    assert_int_equal(head.keep_alive, table[i].keep_alive);
    assert_int_equal(head.chunked, table[i].chunked);
    assert_int_equal(head.content_length, table[i].length);
    free(bytes);
  }
}

static void test_headers(void **state) {
  (void)state;
  char bytes[] = GET "Host: a\r\nX-Empty:\r\nAccept: \t text/html, */* \t\r\nx-twice: 1\r\nX-Twice: 2\r\n\r\n";
  struct http_request request = {0};
  assert_int_equal(head_parse(bytes, sizeof bytes - 1, &request.head).status, 0);
  assert_int_equal(request.head.n_header, 5);
  assert_true(slice_is(http_request_header(&request, "ACCEPT"), "text/html, */*"));
  assert_true(slice_is(http_request_header(&request, "X-Twice"), "1"));
  assert_true(slice_is(http_request_header(&request, "x-empty"), ""));
  assert_non_null(http_request_header(&request, "x-empty").data);
  assert_null(http_request_header(&request, "x-missing").data);
}

static void test_parser_refuses(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    int status;
    const char *reason;
  } table[] = {
      {" / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The head is malformed."},
      {"GET /%0 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The URL has a bad percent-encoding."},
      {"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The URL has a bad percent-encoding."},
      {"GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The URL has a bad percent-encoding."},
      {"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "The URL is malformed."},
  };
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    struct http_head head;
    char *bytes = strdup(table[i].bytes);
    struct head_verdict verdict = head_parse(bytes, strlen(bytes), &head);
    if (verdict.status != table[i].status) fail_msg("%s\ngave %d", table[i].bytes, verdict.status);
    assert_string_equal(verdict.reason, table[i].reason);
    free(bytes);
  }
}

/* Wherever the bytes are cut, the end is found at the same place. */
static void test_end_in_pieces(void **state) {
  (void)state;
  static const char *const inputs[] = {GET "Host: a\r\n\r\nbody", GET "Host: a\rb", "GET / HTTP/1.1\n", "\r\nGET"};
  for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
    size_t whole = 0, scanned = 0, total = strlen(inputs[i]);
    assert_true(head_gate_find_end(slice_make(inputs[i], total), &scanned, &whole));
    size_t size = 0, fed = 0;
    scanned = 0;
    while (!head_gate_find_end(slice_make(inputs[i], fed), &scanned, &size)) assert_true(fed++ < total);
    assert_int_equal(size, whole);
    assert_int_equal(fed, whole);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_refused), cmocka_unit_test(test_limits),         cmocka_unit_test(test_parsed),
      cmocka_unit_test(test_headers), cmocka_unit_test(test_parser_refuses), cmocka_unit_test(test_end_in_pieces),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
