/* The head gate, the parser behind it and the chunked decoder on any bytes. What passes the gate must mean to the
 * parser what its header lines say: two readings of one framing would let requests be smuggled. */
#include "http/chunk_decoder.h"
#include "http/head_gate.h"
#include "http/head_parse.h"
#include "http/http_query.h"

#include "base/limits.h"

#include <stdlib.h>
#include <strings.h>

enum { BODY_MAX = 1 << 16 };

#define REQUIRE(condition)                                                                                             \
  do {                                                                                                                 \
    if (!(condition)) abort();                                                                                         \
  } while (0)

static bool is_named(const struct http_header *header, const char *name) {
  return header->name.size == strlen(name) && strncasecmp((const char *)header->name.data, name, strlen(name)) == 0;
}

static void check_framing(const struct http_head *head) {
  uint64_t length = 0;
  int n_length = 0, n_chunked = 0, n_host = 0;
  for (int i = 0; i < head->n_header; i++) {
    const struct http_header *header = &head->header[i];
    if (is_named(header, "host")) n_host++;
    if (is_named(header, "transfer-encoding")) n_chunked++;
    if (!is_named(header, "content-length")) continue;
    n_length++;
    for (size_t j = 0; j < header->value.size; j++) length = length * 10 + (uint64_t)(header->value.data[j] - '0');
  }
  REQUIRE(n_length + n_chunked <= 1 && n_host <= 1 && n_host >= head->minor_version);
  REQUIRE(head->chunked == (n_chunked == 1) && head->content_length == length);
}

static void feed_body(struct slice input, size_t step) {
  struct chunk_decoder decoder = {0};
  struct head_verdict verdict;
  struct buffer body;
  buffer_init(&body, BODY_MAX);
  enum chunk_progress progress = CHUNK_MORE;
  while (input.size && progress == CHUNK_MORE) {
    struct slice piece = {input.data, step < input.size ? step : input.size};
    size_t given = piece.size;
    progress = chunk_decoder_feed(&decoder, &piece, &body, &verdict);
    REQUIRE(progress != CHUNK_MORE || piece.size == 0);
    input = slice_make(input.data + given - piece.size, input.size - given + piece.size);
  }
  buffer_release(&body);
}

static void read_query(struct slice query) {
  struct slice name, value;
  struct buffer out;
  buffer_init(&out, LIMIT_URL_BYTES);
  while (http_query_next(&query, &name, &value)) http_query_decode(value, &out);
  buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct slice input = slice_make(data, size);
  size_t scanned = 0, head_size = size;
  bool complete = head_gate_find_end(input, &scanned, &head_size);
  REQUIRE(head_size <= size);
  struct head_verdict verdict = head_gate_check(slice_make(data, head_size));
  REQUIRE(verdict.status == 0 || verdict.reason);
  feed_body(input, 1 + size % 7);
  if (verdict.status) return 0;
  REQUIRE(complete);
  char *bytes = malloc(head_size);
  struct http_head *head = malloc(sizeof *head);
  memcpy(bytes, data, head_size);
  if (head_parse(bytes, head_size, head).status == 0) {
    check_framing(head);
    read_query(head->query);
    feed_body(slice_make(data + head_size, size - head_size), size);
  }
  free(head);
  free(bytes);
  return 0;
}
