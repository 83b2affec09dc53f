/* Addresses of the web and of mail, as jinja2's urlize knows them. */
#include "text/jinja_address.h"
#include "text/jinja_text.h"
#include "text/letters.h"

/* --- characters --------------------------------------------------------------------------------------------------- */

static bool is_word(uint32_t code) { return code == '_' || letter_is_alnum(code); }
static bool is_label(uint32_t code) { return is_word(code) || code == '%' || code == '-'; }
static bool is_mail(uint32_t code) { return is_word(code) || code == '.' || code == '-'; }
static bool is_scheme(uint32_t code) { return is_word(code) || code == '.' || code == '+' || code == '-'; }
static bool is_encoded(uint32_t code) { return is_word(code) || code == '%'; }

/* Letters as a comparison without case has them: the long s and the sign of Kelvin, too. */
static bool is_latin(uint32_t code) {
  return code == 0x17F || code == 0x212A || (code < 0x80 && (code | 32) >= 'a' && (code | 32) <= 'z');
}

static bool is_hex(uint8_t byte) { return (byte >= '0' && byte <= '9') || ((byte | 32) >= 'a' && (byte | 32) <= 'f'); }

/* How many characters there are if all are such; SIZE_MAX: one is not. */
static size_t count_all(struct marked text, bool (*is)(uint32_t)) {
  size_t count = 0;
  for (size_t at = 0; at < text.size; count++) {
    uint32_t code;
    at += text_character(text, at, &code);
    if (!is(code)) return SIZE_MAX;
  }
  return count;
}

static bool has_count(struct marked text, bool (*is)(uint32_t), size_t least, size_t most) {
  size_t count = count_all(text, is);
  return count != SIZE_MAX && count >= least && count <= most;
}

static bool starts_any_case(struct marked text, const char *with) {
  size_t size = strlen(with);
  if (text.size < size) return false;
  for (size_t i = 0; i < size; i++) {
    uint8_t byte = text.bytes[i];
    if ((byte >= 'A' && byte <= 'Z' ? byte | 32 : byte) != (uint8_t)with[i]) return false;
  }
  return true;
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

/* Labels with a dot behind each, `least` to `most` characters long; *last: what is behind the last dot. */
static bool labels(struct marked host, size_t least, size_t most, struct marked *last) {
  static const struct marked dot = {(const uint8_t *)".", NULL, 1};
  for (size_t found; (found = text_find(host, 0, dot)) != SIZE_MAX; host = marked_part(host, found + 1, host.size))
    if (!has_count(marked_part(host, 0, found), is_label, least, most)) return false;
  *last = host;
  return true;
}

static bool is_domain(struct marked host) {
  struct marked last;
  if (!labels(host, 1, SIZE_MAX - 1, &last)) return false;
  return has_count(last, is_latin, 2, 63) ||
         (starts_any_case(last, "xn--") && has_count(marked_part(last, 4, last.size), is_encoded, 2, 59));
}

static bool is_known_domain(struct marked host) {
  static const char *const known[] = {"com", "net", "int", "edu", "gov", "org", "info", "mil"};
  struct marked last;
  if (!labels(host, 2, 63, &last) || last.size == host.size) return false;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (last.size == strlen(known[i]) && starts_any_case(last, known[i])) return true;
  return false;
}

static bool is_address4(struct marked host) {
  static const struct marked dot = {(const uint8_t *)".", NULL, 1};
  for (int i = 0; i < 4; i++) {
    size_t found = text_find(host, 0, dot), end = found == SIZE_MAX ? host.size : found;
    if ((i == 3) != (found == SIZE_MAX) || !has_count(marked_part(host, 0, end), letter_is_decimal, 1, 3)) return false;
    host = marked_part(host, i == 3 ? end : end + 1, host.size);
  }
  return true;
}

/* Eight groups at most of up to four digits, the first two with a colon. */
static bool is_address6(struct marked host) {
  size_t at = 1, groups = 0, rest = 0;
  if (host.size < 2 || host.bytes[0] != '[' || host.bytes[host.size - 1] != ']') return false;
  for (; at + 1 < host.size; groups++) {
    size_t digits = 0;
    for (; digits < 4 && at + 1 < host.size && is_hex(host.bytes[at]); digits++) at++;
    bool colon = at + 1 < host.size && host.bytes[at] == ':';
    if ((groups < 2 && !colon) || (digits == 0 && !colon)) return false;
    at += colon;
    rest += groups >= 2;
  }
  return groups >= 2 && rest <= 6;
}

/* Behind the host: a port of up to five digits, and what begins with /, ? or #. */
static bool tail_fits(struct marked tail) {
  if (tail.size && tail.bytes[0] == ':') {
    size_t end = 1;
    while (end < tail.size && !memchr("/?#", tail.bytes[end], 3)) end++;
    if (!has_count(marked_part(tail, 1, end), letter_is_decimal, 1, 5)) return false;
    tail = marked_part(tail, end, tail.size);
  }
  return tail.size == 0 || memchr("/?#", tail.bytes[0], 3);
}

bool address_is_web(struct marked text) {
  size_t scheme = starts_any_case(text, "https://") ? 8 : starts_any_case(text, "http://") ? 7 : 0, end;
  struct marked host = marked_part(text, scheme, text.size);
  bool bracket = scheme && host.size && host.bytes[0] == '[';
  for (end = 0; end < host.size && !(bracket ? host.bytes[end] == ']' : memchr(":/?#", host.bytes[end], 4) != NULL);)
    end++;
  end += bracket && end < host.size;
  if (!tail_fits(marked_part(host, end, host.size))) return false;
  host = marked_part(host, 0, end);
  if (bracket) return is_address6(host);
  bool www = !scheme && starts_any_case(host, "www.");
  return (scheme && (is_domain(host) || is_address4(host))) || (www && is_domain(marked_part(host, 4, host.size))) ||
         (!scheme && is_known_domain(host));
}

bool address_is_mail(struct marked text) {
  static const struct marked at_sign = {(const uint8_t *)"@", NULL, 1}, dot = {(const uint8_t *)".", NULL, 1};
  size_t at = text_find_last(text, text.size, at_sign);
  if (at == SIZE_MAX || at == 0) return false;
  struct marked host = marked_part(text, at + 1, text.size);
  size_t point = text_find_last(host, host.size, dot);
  if (point == SIZE_MAX || point == 0 || count_all(host, is_mail) == SIZE_MAX) return false;
  return has_count(marked_part(host, 0, marked_offset(host, 0, 1)), is_word, 1, 1) &&
         has_count(marked_part(host, point + 1, host.size), is_word, 1, SIZE_MAX - 1);
}

bool address_is_scheme(struct datum d) {
  static const struct marked colon = {(const uint8_t *)":", NULL, 1};
  if (d.kind != DATUM_TEXT) return false;
  size_t at = text_find(*d.text, 0, colon);
  if (at == SIZE_MAX || !has_count(marked_part(*d.text, 0, at), is_scheme, 2, SIZE_MAX - 1)) return false;
  struct marked rest = marked_part(*d.text, at + 1, d.text->size);
  return rest.size == 0 || slice_is(marked_slice(&rest), "/") || slice_is(marked_slice(&rest), "//");
}
