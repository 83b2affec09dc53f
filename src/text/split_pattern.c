/* Split regexes: the differences between Oniguruma and PCRE2 are rewritten or refused here, and nowhere else. */
#include "text/split_pattern.h"

#include "base/clock.h"
#include "base/utf8.h"

#include <ctype.h>

const char split_gpt2[] = "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char split_llama3[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                            " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char split_qwen2[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
                           " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char split_digit[] = "\\p{N}";
const char split_space[] = "\\s";
#define BYTE_NUMBER "[0-9\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}]"
const char split_byte_number[] = BYTE_NUMBER, split_byte_numbers[] = BYTE_NUMBER "+";
const char split_punctuation[] = "[\\p{P}$+<=>^`|~]";

/* White_Space, spelled out: PCRE2's own \s also matches U+180E, which Unicode 6.3 took out. */
#define SPACES "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
/* Oniguruma's \w, which has marks, letters in circles and squares, and of other numbers those of Latin-1. */
#define WORDS                                                                                                          \
  "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}"      \
  "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

enum { MATCH_LIMIT = 10000000, MATCH_HEAP_KIB = 64 << 10 };

struct rewriter {
  struct slice pattern;
  struct buffer *out;
  size_t at;
  bool in_class;
};

static bool refuse(struct rewriter *r, const char *what, struct error *error) {
  return error_set(error, ERROR_UNSUPPORTED, "The split regex '%.*s' uses %s at byte %zu, which is not supported.",
                   SLICE_ARGS(r->pattern), what, r->at);
}

/* A backslash and what it escapes. */
static bool rewrite_escape(struct rewriter *r, struct error *error) {
  static const struct {
    char letter;
    const char *outside, *inside;
  } classes[] = {{'s', "[" SPACES "]", SPACES},
                 {'S', "[^" SPACES "]", "\\S\\x{180e}"},
                 {'w', "[" WORDS "]", WORDS},
                 {'W', "[^" WORDS "]", NULL}};
  if (r->at + 1 >= r->pattern.size) return refuse(r, "a lone backslash", error);
  char letter = (char)r->pattern.data[r->at + 1];
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
    if (classes[i].letter != letter) continue;
    const char *text = r->in_class ? classes[i].inside : classes[i].outside;
    if (!text) return refuse(r, "\\W inside a class", error);
    r->at += 2;
    return buffer_text(r->out, text);
  }
  if (strchr("bBhHRXKCyY", letter) && letter) /* \\G is where the search began for both */
    return refuse(r, "an escape whose meaning differs between engines", error);
  if (letter == 'u') {
    for (size_t i = 2; i < 6; i++)
      if (r->at + i >= r->pattern.size || !isxdigit(r->pattern.data[r->at + i]))
        return refuse(r, "\\u without four hexadecimal digits", error);
    r->at += 6;
    return buffer_print(r->out, "\\x{%.4s}", (const char *)r->pattern.data + r->at - 4);
  }
  buffer_append(r->out, r->pattern.data + r->at, 2);
  r->at += 2;
  return true;
}

static uint8_t peek(const struct rewriter *r, size_t ahead) {
  return r->at + ahead < r->pattern.size ? r->pattern.data[r->at + ahead] : 0;
}

static bool at_intersection(const struct rewriter *r) { return peek(r, 0) == '&' && peek(r, 1) == '&'; }

/* What stands in a class, up to its end or an intersection, without brackets: classes in it are joined to it, as
 * Oniguruma does. */
static bool rewrite_members(struct rewriter *r, struct error *error) {
  int depth = 0;
  while (r->at < r->pattern.size && (depth > 0 || (peek(r, 0) != ']' && !at_intersection(r)))) {
    uint8_t byte = peek(r, 0);
    if (byte == '\\') {
      if (!rewrite_escape(r, error)) return false;
      continue;
    }
    if (at_intersection(r)) return refuse(r, "an intersection within a class of a class", error);
    if (byte == '[' && (peek(r, 1) == '^' || peek(r, 1) == ':'))
      return refuse(r, "a negated or named class inside a class", error);
    depth += byte == '[';
    depth -= byte == ']';
    if (byte != '[' && byte != ']') buffer_append(r->out, &byte, 1);
    r->at++;
  }
  return true;
}

/* One part of an intersection: members, or all but those of a negated class. */
static bool rewrite_part(struct rewriter *r, struct error *error) {
  bool negated = peek(r, 0) == '[' && peek(r, 1) == '^';
  if (negated) r->at += 2;
  buffer_text(r->out, negated ? "[^" : "[");
  if (!rewrite_members(r, error)) return false;
  if (negated && at_intersection(r)) return refuse(r, "an intersection within a class of a class", error);
  if (negated && peek(r, 0) == ']') r->at++;
  return buffer_text(r->out, "]");
}

/* PCRE2 has no intersections: all parts but the first become conditions before the first, which is written last. */
static bool rewrite_intersection(struct rewriter *r, size_t first, struct error *error) {
  struct buffer kept;
  struct slice members = slice_make(r->out->data + first, r->out->size - first);
  buffer_init(&kept, (size_t)LIMIT_PATTERN_BYTES * 64);
  buffer_append(&kept, members.data, members.size);
  r->out->size = first;
  buffer_text(r->out, "(?:");
  bool fine = true;
  while (fine && at_intersection(r)) {
    r->at += 2;
    buffer_text(r->out, "(?=");
    fine = rewrite_part(r, error);
    buffer_text(r->out, ")");
  }
  buffer_append(r->out, kept.data, kept.size);
  buffer_text(r->out, "])");
  r->out->failed |= kept.failed;
  buffer_release(&kept);
  return fine;
}

static bool rewrite_class(struct rewriter *r, struct error *error) {
  size_t first = r->out->size;
  bool negated = peek(r, 1) == '^';
  r->in_class = true;
  r->at += negated ? 2 : 1;
  buffer_text(r->out, negated ? "[^" : "[");
  if (peek(r, 0) == ']') { /* a first one is a member */
    buffer_text(r->out, "]");
    r->at++;
  }
  if (!rewrite_members(r, error)) return false;
  bool meets = at_intersection(r);
  if (meets && negated) return refuse(r, "an intersection in a negated class", error);
  if (meets && !rewrite_intersection(r, first, error)) return false;
  r->in_class = false;
  if (meets && peek(r, 0) != ']') return refuse(r, "an intersection that its class does not end behind", error);
  if (peek(r, 0) != ']') return true; /* which PCRE2 refuses */
  r->at++;
  return meets || buffer_text(r->out, "]");
}

static bool rewrite(struct rewriter *r, struct error *error) {
  while (r->at < r->pattern.size) {
    uint8_t byte = peek(r, 0);
    if (byte == '\\' || byte == '[') {
      if (byte == '[' ? !rewrite_class(r, error) : !rewrite_escape(r, error)) return false;
      continue;
    }
    buffer_append(r->out, &byte, 1);
    r->at++;
  }
  return true;
}

static bool compile(struct split_pattern *split, struct slice pattern, struct slice rewritten, struct error *error) {
  int code;
  PCRE2_SIZE offset;
  /* Oniguruma's ^ and $ are those of lines. \C could cut a character. */
  uint32_t options = PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  options |= split->view == VIEW_BYTES ? PCRE2_NEVER_UTF : PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK;
  split->code = pcre2_compile(rewritten.data, rewritten.size, options, &code, &offset, NULL);
  if (!split->code) {
    PCRE2_UCHAR text[128];
    pcre2_get_error_message(code, text, sizeof text);
    return error_set(error, ERROR_FORMAT, "The split regex '%.*s' does not compile: %s.", SLICE_ARGS(pattern),
                     (const char *)text);
  }
  split->compiled = pcre2_jit_compile(split->code, PCRE2_JIT_COMPLETE) == 0;
  return true;
}

bool split_pattern_open(struct split_pattern *split, struct slice pattern, enum split_view view, struct error *error) {
  *split = (struct split_pattern){.view = view};
  if (pattern.size > LIMIT_PATTERN_BYTES || !utf8_valid(pattern))
    return error_set(error, ERROR_FORMAT, "A split regex of %zu bytes is too long (at most %d) or not valid UTF-8.",
                     pattern.size, LIMIT_PATTERN_BYTES);
  struct buffer out;
  buffer_init(&out, (size_t)LIMIT_PATTERN_BYTES * 64);
  struct rewriter rewriter = {.pattern = pattern, .out = &out};
  bool written = rewrite(&rewriter, error);
  if (out.failed) written = error_set(error, ERROR_MEMORY, "There is no memory for a split regex.");
  bool done = written && compile(split, pattern, buffer_slice(&out), error);
  buffer_release(&out);
  return done;
}

bool split_match_init(struct split_match *match) {
  *match = (struct split_match){.data = pcre2_match_data_create(1, NULL)};
  return match->data;
}

void split_match_release(struct split_match *match) {
  pcre2_match_data_free(match->data);
  *match = (struct split_match){0};
}

void split_pattern_close(struct split_pattern *split) {
  pcre2_code_free(split->code);
  *split = (struct split_pattern){0};
}

/* The interpreter, with its memory on the heap and both bounded: where there is no machine code, or where it ran out of
 * any stack. */
static int match_slowly(const struct split_pattern *split, struct split_match *match, struct slice text, size_t from) {
  pcre2_match_context *context = pcre2_match_context_create(NULL);
  if (!context) return PCRE2_ERROR_NOMEMORY;
  pcre2_set_match_limit(context, MATCH_LIMIT);
  pcre2_set_heap_limit(context, MATCH_HEAP_KIB);
  int found =
      pcre2_match(split->code, text.data, text.size, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match->data, context);
  pcre2_match_context_free(context);
  return found;
}

/* Machine code with a large stack: a long run of a repeated group takes some bytes a round. */
static int match_deeply(const struct split_pattern *split, struct split_match *match, struct slice text, size_t from) {
  pcre2_match_context *context = pcre2_match_context_create(NULL);
  pcre2_jit_stack *stack = pcre2_jit_stack_create(1 << 20, (size_t)MATCH_HEAP_KIB << 10, NULL);
  int found = PCRE2_ERROR_JIT_STACKLIMIT;
  if (context && stack) {
    pcre2_set_match_limit(context, MATCH_LIMIT);
    pcre2_jit_stack_assign(context, NULL, stack);
    found = pcre2_jit_match(split->code, text.data, text.size, from, 0, match->data, context);
  }
  pcre2_jit_stack_free(stack);
  pcre2_match_context_free(context);
  return found;
}

/* A process that was stopped has taken no time: so the thread's own counts. */
static bool takes_long(struct split_match *match) {
  const uint64_t limit = (uint64_t)LIMIT_SPLIT_SECONDS * 1000000000u + match->gone * LIMIT_SPLIT_BYTE_NS;
  uint64_t now = clock_ns();
  if (match->since == 0) match->since = now;
  if (now - match->since < limit) return false;
  if (match->spent == 0) match->spent = clock_thread_ns();
  return clock_thread_ns() - match->spent >= limit;
}

static int match_hard(const struct split_pattern *split, struct split_match *match, struct slice text, size_t from) {
  int found = PCRE2_ERROR_JIT_STACKLIMIT;
  if (split->compiled) found = match_deeply(split, match, text, from);
  if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = match_slowly(split, match, text, from);
  return takes_long(match) ? PCRE2_ERROR_MATCHLIMIT : found;
}

/* Looks at the time after some matches, each of which has its limits. */
static int match_once(const struct split_pattern *split, struct split_match *match, struct slice text, size_t from) {
  enum { UNTIMED = 16 };
  int found = PCRE2_ERROR_JIT_STACKLIMIT;
  if (split->compiled) found = pcre2_jit_match(split->code, text.data, text.size, from, 0, match->data, NULL);
  if (found == PCRE2_ERROR_JIT_STACKLIMIT) return match_hard(split, match, text, from);
  if (match->count++ % UNTIMED == UNTIMED - 1 && takes_long(match)) return PCRE2_ERROR_MATCHLIMIT;
  return found;
}

bool split_pattern_next(const struct split_pattern *split, struct split_match *match, struct slice text, size_t from,
                        size_t *start, size_t *end, struct error *error) {
  for (;;) {
    int found = match_once(split, match, text, from);
    match->gone++;
    if (found == PCRE2_ERROR_NOMATCH) match->gone += text.size - from;
    if (found == PCRE2_ERROR_NOMATCH) return false;
    if (found < 0)
      return error_set(error, ERROR_LIMIT, "Splitting the text by the tokenizer's regex takes too long at byte %zu.",
                       from);
    const PCRE2_SIZE *pair = pcre2_get_ovector_pointer(match->data);
    *start = pair[0];
    *end = pair[1];
    match->gone += *end - from;
    if (*end > *start) return true;
    do from = *start = *start + 1;
    while (split->view != VIEW_BYTES && from < text.size && (text.data[from] & 0xC0) == 0x80);
    if (from > text.size) return false;
  }
}
