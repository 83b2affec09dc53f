/* The lexer of chat templates: one pass over the source, all lexemes in an array. */
#include "text/jinja_lexer.h"

#include "base/limits.h"
#include "text/jinja_literal.h"

#include <stdio.h>

struct lexer {
  struct slice source;
  size_t at;
  int line;
  struct arena *arena;
  struct error *error;
  struct lexeme *items;
  size_t count, capacity;
};

bool compile_no_memory(struct error *error) {
  return error_set(error, ERROR_LIMIT, "Compiling the chat template takes more than %d MiB.",
                   LIMIT_TEMPLATE_MEMORY >> 20);
}

static bool lexer_no_memory(struct lexer *lexer) { return compile_no_memory(lexer->error); }

static bool is_space(uint8_t c) { return c == ' ' || (c >= 9 && c <= 13); }
static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static bool is_letter(uint8_t c) { return c == '_' || c >= 0x80 || ((c | 32) >= 'a' && (c | 32) <= 'z'); }

static uint8_t peek(const struct lexer *lexer, size_t ahead) {
  return ahead < lexer->source.size - lexer->at ? lexer->source.data[lexer->at + ahead] : 0;
}

static bool follows(const struct lexer *lexer, const char *text) {
  return slice_starts(slice_make(lexer->source.data + lexer->at, lexer->source.size - lexer->at), text);
}

/* Moves on, counting lines. */
static void advance(struct lexer *lexer, size_t count) {
  for (size_t i = 0; i < count; i++) lexer->line += lexer->source.data[lexer->at + i] == '\n';
  lexer->at += count;
}

static void skip_space(struct lexer *lexer) {
  while (lexer->at < lexer->source.size && is_space(lexer->source.data[lexer->at])) advance(lexer, 1);
}

static struct lexeme *emit(struct lexer *lexer, enum lexeme_kind kind, struct slice text) {
  if (lexer->count == lexer->capacity) {
    size_t capacity = lexer->capacity ? 2 * lexer->capacity : 256;
    struct lexeme *items = arena_array(lexer->arena, capacity, sizeof *items);
    if (!items) {
      lexer_no_memory(lexer);
      return NULL;
    }
    if (lexer->count) memcpy(items, lexer->items, lexer->count * sizeof *items);
    lexer->items = items;
    lexer->capacity = capacity;
  }
  struct lexeme *lexeme = &lexer->items[lexer->count++];
  *lexeme = (struct lexeme){.kind = kind, .line = lexer->line, .text = text};
  return lexeme;
}

/* --- inside {{ }} and {% %} ------------------------------------------------------------------------------------- */

static bool lex_string(struct lexer *lexer) {
  uint8_t quote = peek(lexer, 0);
  size_t size = 1;
  while (lexer->at + size < lexer->source.size && peek(lexer, size) != quote) size += peek(lexer, size) == '\\' ? 2 : 1;
  if (lexer->at + size >= lexer->source.size)
    return error_set(lexer->error, ERROR_FORMAT, "Line %d of the chat template: a string has no closing %c.",
                     lexer->line, quote);
  struct slice text, written = slice_make(lexer->source.data + lexer->at + 1, size - 1);
  if (literal_is_spoilt(written))
    return error_set(lexer->error, ERROR_FORMAT,
                     "Line %d of the chat template: a string has an escape without a meaning.", lexer->line);
  if (!literal_text(written, lexer->arena, &text)) return lexer_no_memory(lexer);
  if (!emit(lexer, LEXEME_STRING, text)) return false;
  advance(lexer, size + 1);
  return true;
}

static bool lex_number(struct lexer *lexer) {
  struct literal_number number;
  bool after_dot = lexer->at > 0 && lexer->source.data[lexer->at - 1] == '.';
  struct slice rest = slice_make(lexer->source.data + lexer->at, lexer->source.size - lexer->at);
  bool fits = literal_number(rest, after_dot, lexer->arena, &number);
  struct slice written = slice_make(rest.data, number.size);
  if (!fits)
    return error_set(lexer->error, ERROR_FORMAT, "Line %d of the chat template: the number %.*s has too many digits.",
                     lexer->line, SLICE_ARGS(written));
  enum lexeme_kind kind = number.is_real ? LEXEME_FLOAT : number.is_big ? LEXEME_BIG : LEXEME_INTEGER;
  struct lexeme *lexeme = emit(lexer, kind, number.is_big ? number.digits : written);
  if (!lexeme) return false;
  lexeme->integer = number.integer;
  lexeme->number = number.real;
  advance(lexer, number.size);
  return true;
}

static bool lex_operator(struct lexer *lexer) {
  static const char *const operators[] = {"==", "!=", ">=", "<=", "//", "**", "+", "-", "*", "/", "%", "~", "(",
                                          ")",  "[",  "]",  "{",  "}",  "<",  ">", "=", ".", ",", ":", "|", ";"};
  for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
    if (!follows(lexer, operators[i])) continue;
    if (!emit(lexer, LEXEME_OPERATOR, slice_text(operators[i]))) return false;
    advance(lexer, strlen(operators[i]));
    return true;
  }
  return error_set(lexer->error, ERROR_FORMAT, "Line %d of the chat template: the character '%c' means nothing there.",
                   lexer->line, peek(lexer, 0) >= 0x20 && peek(lexer, 0) < 0x7f ? peek(lexer, 0) : '?');
}

static bool lex_one(struct lexer *lexer) {
  uint8_t c = peek(lexer, 0);
  if (c == '"' || c == '\'') return lex_string(lexer);
  if (is_digit(c)) return lex_number(lexer);
  if (!is_letter(c)) return lex_operator(lexer);
  size_t size = 1;
  while (is_letter(peek(lexer, size)) || is_digit(peek(lexer, size))) size++;
  if (!emit(lexer, LEXEME_NAME, slice_make(lexer->source.data + lexer->at, size))) return false;
  advance(lexer, size);
  return true;
}

/* At the end of a tag ("-%}", "+%}", "%}"; the same with }}): its bytes with the white space that it takes, else 0. */
static size_t tag_end(const struct lexer *lexer, bool block) {
  uint8_t sign = peek(lexer, 0), closing = block ? '%' : '}';
  size_t size = sign == '-' || (block && sign == '+') ? 1 : 0;
  if (peek(lexer, size) != closing || peek(lexer, size + 1) != '}') return 0;
  return size + 2;
}

static void take_after(struct lexer *lexer, bool strips, bool trims) {
  if (strips)
    skip_space(lexer);
  else if (trims && peek(lexer, 0) == '\n')
    advance(lexer, 1);
}

/* From after "{{" or "{%" (and a sign) to after the end, all lexemes between. */
static bool lex_tag(struct lexer *lexer, bool block) {
  int opened = lexer->line, nesting = 0;
  if (!emit(lexer, block ? LEXEME_BLOCK_BEGIN : LEXEME_PRINT_BEGIN, slice_make("", 0))) return false;
  for (;;) {
    skip_space(lexer);
    if (lexer->at == lexer->source.size)
      return error_set(lexer->error, ERROR_FORMAT, "Line %d of the chat template: the %s has no closing %s.", opened,
                       block ? "{%" : "{{", block ? "%}" : "}}");
    size_t size = nesting == 0 ? tag_end(lexer, block) : 0;
    if (size) {
      if (!emit(lexer, block ? LEXEME_BLOCK_END : LEXEME_PRINT_END, slice_make("", 0))) return false;
      uint8_t sign = peek(lexer, 0);
      advance(lexer, size);
      take_after(lexer, sign == '-', block && sign != '+');
      return true;
    }
    if (!lex_one(lexer)) return false;
    const struct lexeme *last = &lexer->items[lexer->count - 1];
    if (last->kind != LEXEME_OPERATOR) continue;
    if (strchr("([{", last->text.data[0])) nesting++;
    if (strchr(")]}", last->text.data[0]) && nesting > 0) nesting--;
  }
}

/* --- outside ---------------------------------------------------------------------------------------------------- */

/* Text up to a tag whose sign is `sign` ('-' takes all white space before it; a block or comment without '+' the spaces
 * of its own line, if it is the line's first). */
static bool emit_data(struct lexer *lexer, size_t start, size_t end, uint8_t sign, bool strips_line) {
  const uint8_t *data = lexer->source.data;
  if (sign == '-') {
    while (end > start && is_space(data[end - 1])) end--;
  } else if (strips_line && sign != '+') {
    size_t line = end;
    while (line > start && data[line - 1] != '\n' && is_space(data[line - 1])) line--;
    if (line == 0 || data[line - 1] == '\n') end = line;
  }
  return end == start || emit(lexer, LEXEME_DATA, slice_make(data + start, end - start));
}

static bool lex_comment(struct lexer *lexer) {
  int opened = lexer->line;
  advance(lexer, 2);
  while (lexer->at < lexer->source.size && !follows(lexer, "#}")) advance(lexer, 1);
  if (lexer->at == lexer->source.size)
    return error_set(lexer->error, ERROR_FORMAT, "Line %d of the chat template: the {# has no closing #}.", opened);
  uint8_t sign = lexer->source.data[lexer->at - 1];
  advance(lexer, 2);
  take_after(lexer, sign == '-', sign != '+');
  return true;
}

/* After "{%" and a sign: the bytes of `word` and the end of the tag, or 0; *strips: it ends with "-%}". */
static size_t word_tag(const struct lexer *lexer, size_t from, const char *word, uint8_t *sign) {
  size_t at = from;
  while (is_space(peek(lexer, at))) at++;
  if (!slice_starts(slice_make(lexer->source.data + lexer->at + at, lexer->source.size - lexer->at - at), word))
    return 0;
  at += strlen(word);
  while (is_space(peek(lexer, at))) at++;
  *sign = peek(lexer, at);
  at += *sign == '-' || *sign == '+';
  return peek(lexer, at) == '%' && peek(lexer, at + 1) == '}' ? at + 2 : 0;
}

/* At "{% raw %}" (size bytes): its text up to "{% endraw %}" as it is. */
static bool lex_raw(struct lexer *lexer, size_t size, bool strips) {
  int opened = lexer->line;
  advance(lexer, size);
  take_after(lexer, strips, false);
  size_t start = lexer->at;
  for (; lexer->at < lexer->source.size; advance(lexer, 1)) {
    uint8_t begin = peek(lexer, 2), end_sign;
    if (!follows(lexer, "{%")) continue;
    size_t end = word_tag(lexer, begin == '-' || begin == '+' ? 3 : 2, "endraw", &end_sign);
    if (!end) continue;
    if (!emit_data(lexer, start, lexer->at, begin, true)) return false;
    advance(lexer, end);
    take_after(lexer, end_sign == '-', end_sign != '+');
    return true;
  }
  return error_set(lexer->error, ERROR_FORMAT, "Line %d of the chat template: {%% raw %%} has no {%% endraw %%}.",
                   opened);
}

static bool lex_next(struct lexer *lexer) {
  size_t start = lexer->at;
  while (lexer->at < lexer->source.size && !follows(lexer, "{{") && !follows(lexer, "{%") && !follows(lexer, "{#"))
    advance(lexer, 1);
  if (lexer->at == lexer->source.size) return emit_data(lexer, start, lexer->at, 0, false);
  uint8_t kind = peek(lexer, 1), sign = peek(lexer, 2), raw_sign;
  if (!emit_data(lexer, start, lexer->at, sign, kind != '{')) return false;
  if (kind == '#') return lex_comment(lexer);
  size_t begin = sign == '-' || sign == '+' ? 3 : 2;
  size_t raw = kind == '%' ? word_tag(lexer, begin, "raw", &raw_sign) : 0;
  if (raw) return lex_raw(lexer, raw, raw_sign == '-');
  advance(lexer, begin);
  return lex_tag(lexer, kind == '%');
}

const struct lexeme *jinja_lex(struct slice source, struct arena *arena, struct error *error) {
  struct lexer lexer = {.source = source, .line = 1, .arena = arena, .error = error};
  if (!source_unify_lines(&lexer.source, arena)) {
    lexer_no_memory(&lexer);
    return NULL;
  }
  while (lexer.at < lexer.source.size)
    if (!lex_next(&lexer)) return NULL;
  return emit(&lexer, LEXEME_END, slice_make("", 0)) ? lexer.items : NULL;
}

const char *lexeme_name(const struct lexeme *lexeme, char text[64]) {
  switch (lexeme->kind) {
  case LEXEME_END: return "the end of the template";
  case LEXEME_DATA: return "text";
  case LEXEME_BLOCK_BEGIN: return "{%";
  case LEXEME_BLOCK_END: return "%}";
  case LEXEME_PRINT_BEGIN: return "{{";
  case LEXEME_PRINT_END: return "}}";
  case LEXEME_STRING: return "a string";
  default: snprintf(text, 64, "\"%.*s\"", lexeme->text.size > 40 ? 40 : (int)lexeme->text.size, lexeme->text.data);
  }
  return text;
}
