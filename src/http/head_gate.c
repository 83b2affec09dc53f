/* The strict head gate. Bytes first, then the request line, then each field, then what the fields say together. */
#include "http/head_gate.h"

#include "base/limits.h"

#include <assert.h>
#include <strings.h>

#define SOUND ((struct head_verdict){0, NULL})

static struct head_verdict refuse(int status, const char *reason) { return (struct head_verdict){status, reason}; }

bool head_gate_is_token(uint8_t byte) {
  if ((byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z')) return true;
  return byte != 0 && strchr("!#$%&'*+-.^_`|~", byte);
}

bool head_gate_is_text(uint8_t byte) { return byte == '\t' || (byte >= ' ' && byte != 0x7f); }

/* The sentence for the byte at position i of bytes, or NULL when it may stand there. The last byte gets the benefit of
 * the doubt: a CR may still be followed by its LF. */
static const char *byte_fault(struct slice bytes, size_t i) {
  uint8_t byte = bytes.data[i];
  if (byte == '\n')
    return i > 0 && bytes.data[i - 1] == '\r' ? NULL : "The head has a line feed without a carriage return.";
  if (byte == '\r') {
    bool alone = i + 1 < bytes.size && bytes.data[i + 1] != '\n';
    return alone ? "The head has a carriage return without a line feed." : NULL;
  }
  return head_gate_is_text(byte) ? NULL : "The head has a control byte.";
}

bool head_gate_find_end(struct slice input, size_t *scanned, size_t *size) {
  for (size_t i = *scanned; i < input.size; i++) {
    if (input.data[i] == '\r' && i + 1 == input.size) {
      *scanned = i;
      return false;
    }
    bool line_ends = input.data[i] == '\n' && i > 0;
    bool empty_line = line_ends && (i == 1 || (i >= 3 && input.data[i - 2] == '\n'));
    if (!empty_line && !byte_fault(input, i)) continue;
    /* With the byte after a lone CR, so that the check sees that it is alone. */
    *size = i + (input.data[i] == '\r' ? 2 : 1);
    return true;
  }
  *scanned = input.size;
  return false;
}

/* Takes the next line off *rest, without its CRLF. */
static struct slice take_line(struct slice *rest) {
  const uint8_t *end = memchr(rest->data, '\n', rest->size);
  assert(end && end > rest->data);
  struct slice line = {rest->data, (size_t)(end - rest->data) - 1};
  *rest = slice_make(end + 1, rest->size - line.size - 2);
  return line;
}

/* Takes the bytes up to the next space off *line, and the space. */
static struct slice take_word(struct slice *line) {
  const uint8_t *space = line->size ? memchr(line->data, ' ', line->size) : NULL;
  size_t size = space ? (size_t)(space - line->data) : line->size;
  struct slice word = {line->data, size};
  size_t taken = space ? size + 1 : size;
  *line = slice_make(line->data + taken, line->size - taken);
  return word;
}

static bool is_token(struct slice word) {
  for (size_t i = 0; i < word.size; i++) {
    if (!head_gate_is_token(word.data[i])) return false;
  }
  return word.size > 0;
}

static bool is_caseless(struct slice word, const char *text) {
  return word.size == strlen(text) && strncasecmp((const char *)word.data, text, word.size) == 0;
}

static struct head_verdict check_target(struct slice target, struct slice method) {
  if (target.size > LIMIT_URL_BYTES) return refuse(414, "The URL is longer than 8192 bytes.");
  _Static_assert(LIMIT_URL_BYTES == 8192, "the sentence above names the limit");
  for (size_t i = 0; i < target.size; i++) {
    uint8_t byte = target.data[i];
    if (byte <= ' ' || byte >= 0x7f || byte == '#')
      return refuse(400, "The URL has a byte that must be percent-encoded.");
  }
  bool absolute = (target.size > 7 && strncasecmp((const char *)target.data, "http://", 7) == 0) ||
                  (target.size > 8 && strncasecmp((const char *)target.data, "https://", 8) == 0);
  bool asterisk = slice_is(target, "*") && slice_is(method, "OPTIONS");
  if (slice_starts(target, "/") || absolute || asterisk) return SOUND;
  return refuse(400, "The URL of the request must start with \"/\" or \"http://\".");
}

static struct head_verdict check_version(struct slice version, bool *is_1_1) {
  static const char form[] = "The request line must read METHOD URL HTTP/1.1, with single spaces.";
  if (version.size != 8 || !slice_starts(version, "HTTP/") || version.data[6] != '.') return refuse(400, form);
  uint8_t major = version.data[5], minor = version.data[7];
  if (major < '0' || major > '9' || minor < '0' || minor > '9') return refuse(400, form);
  if (major != '1' || minor > '1') return refuse(505, "The HTTP version must be 1.0 or 1.1.");
  *is_1_1 = minor == '1';
  return SOUND;
}

static struct head_verdict check_request_line(struct slice line, bool *is_1_1) {
  struct slice method = take_word(&line), target = take_word(&line);
  if (!is_token(method)) return refuse(400, "The request line must start with a method.");
  struct head_verdict verdict = check_target(target, method);
  return verdict.status ? verdict : check_version(line, is_1_1);
}

/* What the fields say together. */
struct fields {
  int n, n_host, n_length, n_encoding;
};

static struct head_verdict check_length(struct slice value) {
  if (value.size == 0) return refuse(400, "Content-Length must be decimal digits.");
  for (size_t i = 0; i < value.size; i++) {
    if (value.data[i] < '0' || value.data[i] > '9') return refuse(400, "Content-Length must be decimal digits.");
  }
  if (value.size > 18) return refuse(400, "Content-Length has more than 18 digits.");
  return SOUND;
}

static struct head_verdict check_host(struct slice value) {
  for (size_t i = 0; i < value.size; i++) {
    uint8_t byte = value.data[i];
    bool plain = head_gate_is_token(byte) || (byte != 0 && strchr(":[]()=;,", byte));
    if (!plain) return refuse(400, "Host has a byte that no host name may hold.");
  }
  return SOUND;
}

static struct slice trim(struct slice value) {
  while (value.size && (value.data[0] == ' ' || value.data[0] == '\t'))
    value = slice_make(value.data + 1, value.size - 1);
  while (value.size && (value.data[value.size - 1] == ' ' || value.data[value.size - 1] == '\t')) value.size--;
  return value;
}

static struct head_verdict check_field(struct slice line, struct fields *fields) {
  if (line.size > LIMIT_HEADER_BYTES) return refuse(431, "A header line is longer than 8192 bytes.");
  _Static_assert(LIMIT_HEADER_BYTES == 8192, "the sentence above names the limit");
  if (line.data[0] == ' ' || line.data[0] == '\t') return refuse(400, "A header line starts with white space.");
  const uint8_t *colon = memchr(line.data, ':', line.size);
  if (!colon) return refuse(400, "A header line has no colon.");
  struct slice name = {line.data, (size_t)(colon - line.data)};
  if (name.size && (colon[-1] == ' ' || colon[-1] == '\t')) {
    return refuse(400, "A header name is followed by white space before its colon.");
  }
  if (!is_token(name)) return refuse(400, "A header name is not a token.");
  struct slice value = trim(slice_make(colon + 1, line.size - name.size - 1));
  if (++fields->n > LIMIT_HEADERS) return refuse(431, "The head has more than 100 header lines.");
  _Static_assert(LIMIT_HEADERS == 100, "the sentence above names the limit");
  if (is_caseless(name, "host")) {
    fields->n_host++;
    return check_host(value);
  }
  if (is_caseless(name, "content-length")) {
    fields->n_length++;
    return check_length(value);
  }
  if (!is_caseless(name, "transfer-encoding")) return SOUND;
  fields->n_encoding++;
  return is_caseless(value, "chunked") ? SOUND : refuse(400, "Transfer-Encoding must be chunked and nothing else.");
}

static struct head_verdict check_together(const struct fields *fields, bool is_1_1) {
  if (fields->n_length > 1) return refuse(400, "Content-Length is given more than once.");
  if (fields->n_encoding > 1) return refuse(400, "Transfer-Encoding is given more than once.");
  if (fields->n_length && fields->n_encoding) {
    return refuse(400, "Content-Length and Transfer-Encoding exclude each other.");
  }
  if (fields->n_encoding && !is_1_1) return refuse(400, "Transfer-Encoding does not exist in HTTP/1.0.");
  if (fields->n_host > 1) return refuse(400, "Host is given more than once.");
  if (fields->n_host == 0 && is_1_1) return refuse(400, "The Host header is missing.");
  return SOUND;
}

struct head_verdict head_gate_check(struct slice head) {
  if (head.size > LIMIT_HEAD_BYTES) return refuse(400, "The head is larger than 16384 bytes.");
  _Static_assert(LIMIT_HEAD_BYTES == 16384, "the sentence above names the limit");
  for (size_t i = 0; i < head.size; i++) {
    const char *fault = byte_fault(head, i);
    if (fault) return refuse(400, fault);
  }
  bool whole = head.size >= 4 && memcmp(head.data + head.size - 4, "\r\n\r\n", 4) == 0;
  if (!whole) return refuse(400, "The head does not hold a request line and an empty line.");
  struct slice rest = {head.data, head.size - 2};
  bool is_1_1 = false;
  struct head_verdict verdict = check_request_line(take_line(&rest), &is_1_1);
  struct fields fields = {0};
  while (!verdict.status && rest.size) verdict = check_field(take_line(&rest), &fields);
  return verdict.status ? verdict : check_together(&fields, is_1_1);
}
