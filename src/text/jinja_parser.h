/* The parser of chat templates: statements in jinja_parser.c, operators in jinja_expression.c, what they apply to in
 * jinja_operand.c and jinja_arguments.c. */
#ifndef SPATE_TEXT_JINJA_PARSER_H
#define SPATE_TEXT_JINJA_PARSER_H

#include "text/jinja_lexer.h"
#include "text/jinja_node.h"

/* Parses a whole template into the arena; the source must live as long. NULL with a sentence that names the line. */
const struct node_list *jinja_parse(struct slice source, struct arena *arena, struct error *error);

/* --- between the files ------------------------------------------------------------------------------------------ */

struct parser {
  const struct lexeme *at; /* the current lexeme, never past LEXEME_END */
  struct arena *arena;
  struct error *error;
  unsigned uses;    /* USES_*: of the macro around the current statement */
  int depth, loops; /* nesting; for loops around the current statement */
};

bool parser_fail(struct parser *p, const char *format, ...) __attribute__((format(printf, 2, 3), cold));
bool parser_enter(struct parser *p); /* one level deeper, within LIMIT_TEMPLATE_DEPTH */

static inline bool parser_sees(const struct parser *p, enum lexeme_kind kind, const char *text) {
  return p->at->kind == kind && slice_is(p->at->text, text);
}
static inline bool parser_sees_operator(const struct parser *p, const char *text) {
  return parser_sees(p, LEXEME_OPERATOR, text);
}
static inline bool parser_sees_name(const struct parser *p, const char *text) {
  return parser_sees(p, LEXEME_NAME, text);
}
bool parser_accept(struct parser *p, enum lexeme_kind kind, const char *text);
bool parser_expect(struct parser *p, enum lexeme_kind kind, const char *text); /* or a sentence */
bool parser_name(struct parser *p, struct slice *name);

struct node *node_new(struct parser *p, enum node_kind kind);
struct node *node_pair(struct parser *p, enum node_kind kind, struct node *a, struct node *b); /* NULL when one is */
bool node_list_add(struct parser *p, struct node_list *list, struct node *node); /* false when node is NULL */

/* An expression; with_choice: "a if b else c" may be one. */
struct node *parse_expression(struct parser *p, bool with_choice);

/* One or, between commas, a tuple; before_in: what a loop or a set assigns to. */
struct node *parse_tuple(struct parser *p, bool with_choice, bool in_parentheses);
struct node *parse_target(struct parser *p);

/* A value with its sign and what stands behind it. */
struct node *parse_unary(struct parser *p, bool with_filters);

/* "(a, b, *c, name=d, **e)" into a call, a filter or a test. */
bool parse_arguments(struct parser *p, struct node *call);

/* "|name(…)|name…" after subject; without_bar: the first has no bar before it. */
struct node *parse_filters(struct parser *p, struct node *subject, bool without_bar);

#endif
