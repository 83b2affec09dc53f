/* Stop matcher: one Knuth-Morris-Pratt automaton a string, all fed each byte. What is held back is the longest of
 * their partial matches. */
#include "text/stop_matcher.h"

static void string_init(struct stop_string *string, struct slice text) {
  *string = (struct stop_string){.size = (uint16_t)text.size};
  memcpy(string->text, text.data, text.size);
  uint8_t border = 0;
  for (size_t i = 1; i < text.size; i++) {
    while (border > 0 && text.data[i] != text.data[border]) border = string->border[border - 1];
    if (text.data[i] == text.data[border]) border++;
    string->border[i] = border;
  }
}

bool stop_matcher_init(struct stop_matcher *matcher, const struct slice *strings, size_t count, struct error *error) {
  matcher->n_string = 0;
  matcher->found = -1;
  matcher->shown = matcher->muted = false;
  matcher->n_held = 0;
  if (count > LIMIT_STOP_STRINGS)
    return error_set(error, ERROR_LIMIT, "%zu stop strings were given; at most %d are allowed.", count,
                     LIMIT_STOP_STRINGS);
  for (size_t i = 0; i < count; i++) {
    if (strings[i].size == 0) return error_set(error, ERROR_INVALID, "Stop string %zu is empty.", i);
    if (strings[i].size > LIMIT_STOP_BYTES)
      return error_set(error, ERROR_LIMIT, "Stop string %zu has %zu bytes; at most %d are allowed.", i, strings[i].size,
                       LIMIT_STOP_BYTES);
    string_init(&matcher->strings[matcher->n_string++], strings[i]);
  }
  return true;
}

void stop_matcher_reset(struct stop_matcher *matcher) {
  matcher->found = -1;
  matcher->n_held = 0;
  for (int i = 0; i < matcher->n_string; i++) matcher->strings[i].matched = 0;
}

/* Advances every string by one byte. Returns the longest that is complete now, or -1; it goes on with what its end is
 * the beginning of. */
static int matcher_step(struct stop_matcher *matcher, uint8_t byte) {
  int complete = -1;
  for (int i = 0; i < matcher->n_string; i++) {
    struct stop_string *string = &matcher->strings[i];
    while (string->matched > 0 && string->text[string->matched] != byte)
      string->matched = string->border[string->matched - 1];
    if (string->text[string->matched] == byte) string->matched++;
    if (string->matched < string->size) continue;
    string->matched = string->border[string->size - 1];
    if (complete < 0 || string->size > matcher->strings[complete].size) complete = i;
  }
  return complete;
}

static size_t longest_match(const struct stop_matcher *matcher) {
  size_t longest = 0;
  for (int i = 0; i < matcher->n_string; i++)
    if (matcher->strings[i].matched > longest) longest = matcher->strings[i].matched;
  return longest;
}

bool stop_matcher_feed(struct stop_matcher *matcher, struct slice text, uint8_t *out, size_t *out_size) {
  *out_size = 0;
  if (matcher->found >= 0) return true;
  size_t taken = 0;
  while (taken < text.size && matcher->found < 0) {
    int complete = matcher_step(matcher, text.data[taken++]);
    if (!matcher->muted) matcher->found = complete;
  }
  if (matcher->n_held) memcpy(out, matcher->held, matcher->n_held);
  if (taken) memcpy(out + matcher->n_held, text.data, taken);
  size_t size = matcher->n_held + taken;
  bool stopped = matcher->found >= 0;
  size_t kept = longest_match(matcher);
  if (stopped) kept = matcher->shown ? 0 : matcher->strings[matcher->found].size;
  *out_size = size - kept;
  matcher->n_held = stopped ? 0 : kept;
  memcpy(matcher->held, out + *out_size, matcher->n_held);
  return stopped;
}

size_t stop_matcher_flush(struct stop_matcher *matcher, uint8_t *out) {
  size_t size = matcher->n_held;
  matcher->n_held = 0;
  memcpy(out, matcher->held, size);
  return size;
}
