/* A template's source to lexemes, with the white space rules that model templates rely on: trim_blocks (a line's end
 * after a block is not text), lstrip_blocks (nor are spaces before a block at the start of a line), `-` and `+`. */
#ifndef SPATE_TEXT_JINJA_LEXER_H
#define SPATE_TEXT_JINJA_LEXER_H

#include "base/arena.h"
#include "base/error.h"
#include "base/slice.h"

enum lexeme_kind {
  LEXEME_END,         /* of the source */
  LEXEME_DATA,        /* text of the template */
  LEXEME_BLOCK_BEGIN, /* {% */
  LEXEME_BLOCK_END,
  LEXEME_PRINT_BEGIN, /* {{ */
  LEXEME_PRINT_END,
  LEXEME_NAME,
  LEXEME_STRING, /* text: unescaped */
  LEXEME_INTEGER,
  LEXEME_BIG, /* text: its digits, more than a LEXEME_INTEGER has */
  LEXEME_FLOAT,
  LEXEME_OPERATOR,
};

struct lexeme {
  enum lexeme_kind kind;
  int line;
  struct slice text;
  int64_t integer;
  double number;
};

/* Cuts the source into lexemes, ended by a LEXEME_END, in the arena; the source must live as long. NULL with a sentence
 * that names the line. */
const struct lexeme *jinja_lex(struct slice source, struct arena *arena, struct error *error);

/* Fails for want of the arena's memory: too much is asked of it, or its `starved` tells better. */
bool compile_no_memory(struct error *error);

/* What a sentence calls the lexeme; text is room for it. */
const char *lexeme_name(const struct lexeme *lexeme, char text[64]);

#endif
