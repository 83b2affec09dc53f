/* Matching answers. The patterns are of bytes: what they name is ASCII. */
#include "build/answer_match.h"

#include "base/buffer.h"
#include "base/limits.h"

static const char *const filters[FILTER_COUNT] = {
    [FILTER_STRICT] = "#### (-?[0-9.,]+)", [FILTER_FLEXIBLE] = "(-?[$0-9.,]{2,})|(-?[0-9]+)"};
static const char *const ignored[ANSWER_IGNORED] = {",", "\\$", "(?s).*#### ", "\\.$"}; /* one after the other */

static pcre2_code *pattern_compile(const char *pattern, struct error *error) {
  int code;
  PCRE2_SIZE at;
  pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &code, &at, NULL);
  if (!compiled) error_set(error, ERROR_MEMORY, "Out of memory for the pattern %s.", pattern);
  return compiled;
}

bool answer_match_init(struct answer_match *match, struct error *error) {
  *match = (struct answer_match){.found = pcre2_match_data_create(3, NULL)};
  bool done = match->found || error_set(error, ERROR_MEMORY, "Out of memory for matches.");
  for (int i = 0; done && i < FILTER_COUNT; i++) done = (match->filter[i] = pattern_compile(filters[i], error)) != NULL;
  for (int i = 0; done && i < ANSWER_IGNORED; i++)
    done = (match->ignored[i] = pattern_compile(ignored[i], error)) != NULL;
  if (!done) answer_match_release(match);
  return done;
}

void answer_match_release(struct answer_match *match) {
  for (int i = 0; i < FILTER_COUNT; i++) pcre2_code_free(match->filter[i]);
  for (int i = 0; i < ANSWER_IGNORED; i++) pcre2_code_free(match->ignored[i]);
  pcre2_match_data_free(match->found);
  *match = (struct answer_match){0};
}

/* The first match or the last; of the strict one its group. */
static bool answer_find(const struct answer_match *match, enum answer_filter filter, struct slice text,
                        struct slice *found) {
  bool any = false;
  PCRE2_SIZE *range = pcre2_get_ovector_pointer(match->found);
  for (size_t at = 0;; at = range[1]) {
    if (pcre2_match(match->filter[filter], text.data, text.size, at, 0, match->found, NULL) < 1) return any;
    int group = filter == FILTER_STRICT ? 1 : 0;
    *found = slice_make(text.data + range[2 * group], range[2 * group + 1] - range[2 * group]);
    any = true;
    if (filter == FILTER_STRICT) return true;
  }
}

/* What is kept moves down within the text, behind the place that is searched. */
static void match_remove(const struct answer_match *match, const pcre2_code *pattern, struct buffer *text) {
  PCRE2_SIZE *range = pcre2_get_ovector_pointer(match->found);
  size_t from = 0, to = 0, end;
  while (from < text->size) {
    bool any = pcre2_match(pattern, (PCRE2_SPTR)text->data, text->size, from, 0, match->found, NULL) >= 1;
    end = any ? range[0] : text->size;
    memmove(text->data + to, text->data + from, end - from);
    to += end - from;
    from = any ? range[1] : text->size;
  }
  text->size = to;
}

/* In small letters, without what does not count. */
static void answer_reduce(const struct answer_match *match, struct slice text, struct buffer *out) {
  buffer_append(out, text.data, text.size);
  for (int i = 0; i < ANSWER_IGNORED; i++) match_remove(match, match->ignored[i], out);
  for (size_t i = 0; i < out->size; i++)
    if (out->data[i] >= 'A' && out->data[i] <= 'Z') out->data[i] = (char)(out->data[i] - 'A' + 'a');
}

bool answer_matches(const struct answer_match *match, enum answer_filter filter, struct slice answer,
                    struct slice reference) {
  struct slice found;
  struct buffer given, wanted;
  if (!answer_find(match, filter, answer, &found)) return false;
  buffer_init(&given, LIMIT_EVAL_ANSWER_BYTES);
  buffer_init(&wanted, LIMIT_EVAL_ANSWER_BYTES);
  answer_reduce(match, found, &given);
  answer_reduce(match, reference, &wanted);
  bool same = !given.failed && !wanted.failed && slice_equal(buffer_slice(&given), buffer_slice(&wanted));
  buffer_release(&given);
  buffer_release(&wanted);
  return same;
}
