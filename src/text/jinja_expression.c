/* Operators of chat templates, loosest binding first: choice, or, and, not, comparison, + -, ~, * / // %, **. What they
 * apply to is in jinja_operand.c. */
#include "text/jinja_parser.h"

struct node *node_pair(struct parser *p, enum node_kind kind, struct node *a, struct node *b) {
  struct node *node = a && b ? node_new(p, kind) : NULL;
  if (!node) return NULL;
  node->line = a->line;
  node->a = a;
  node->b = b;
  return node;
}

/* --- operators -------------------------------------------------------------------------------------------------- */

struct operator_row {
  const char *text;
  enum operator_kind op;
};

/* Operators that bind alike, from the left; level 3 is a sign. */
static struct node *parse_binary(struct parser *p, int level) {
  static const struct operator_row rows[4][5] = {
      {{"+", OPERATOR_ADD}, {"-", OPERATOR_SUBTRACT}},
      {{"~", OPERATOR_CONCATENATE}},
      {{"*", OPERATOR_MULTIPLY}, {"/", OPERATOR_DIVIDE}, {"//", OPERATOR_FLOOR_DIVIDE}, {"%", OPERATOR_MODULO}},
      {{"**", OPERATOR_POWER}},
  };
  if (level == 4) return parse_unary(p, true);
  struct node *left = parse_binary(p, level + 1);
  for (const struct operator_row *row = rows[level]; left && row->text;) {
    if (!parser_accept(p, LEXEME_OPERATOR, row->text)) {
      row++;
      continue;
    }
    left = node_pair(p, NODE_BINARY, left, parse_binary(p, level + 1));
    if (left) left->op = row->op;
    row = rows[level];
  }
  return left;
}

static enum operator_kind accept_comparison(struct parser *p) {
  static const struct operator_row rows[] = {
      {"==", OPERATOR_EQUAL},         {"!=", OPERATOR_NOT_EQUAL}, {"<=", OPERATOR_LESS_EQUAL},
      {">=", OPERATOR_GREATER_EQUAL}, {"<", OPERATOR_LESS},       {">", OPERATOR_GREATER},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (parser_accept(p, LEXEME_OPERATOR, rows[i].text)) return rows[i].op;
  if (parser_accept(p, LEXEME_NAME, "in")) return OPERATOR_IN;
  if (!parser_sees_name(p, "not") || p->at[1].kind != LEXEME_NAME || !slice_is(p->at[1].text, "in"))
    return OPERATOR_NONE;
  p->at += 2;
  return OPERATOR_NOT_IN;
}

static struct node *parse_compare(struct parser *p) {
  struct node *left = parse_binary(p, 0), *node = NULL;
  enum operator_kind op;
  while (left && (op = accept_comparison(p)) != OPERATOR_NONE) {
    if (!node && !(node = node_new(p, NODE_COMPARE))) return NULL;
    struct node *operand = node_new(p, NODE_OPERAND);
    if (!operand || !(operand->a = parse_binary(p, 0)) || !node_list_add(p, &node->items, operand)) return NULL;
    operand->op = op;
    node->a = left;
  }
  return node ? node : left;
}

static struct node *parse_not(struct parser *p) {
  if (!parser_accept(p, LEXEME_NAME, "not")) return parse_compare(p);
  struct node *node = node_new(p, NODE_NOT);
  if (!node || !parser_enter(p) || !(node->a = parse_not(p))) return NULL;
  p->depth--;
  return node;
}

static struct node *parse_and(struct parser *p) {
  struct node *left = parse_not(p);
  while (left && parser_accept(p, LEXEME_NAME, "and")) left = node_pair(p, NODE_AND, left, parse_not(p));
  return left;
}

static struct node *parse_or(struct parser *p) {
  struct node *left = parse_and(p);
  while (left && parser_accept(p, LEXEME_NAME, "or")) left = node_pair(p, NODE_OR, left, parse_and(p));
  return left;
}

struct node *parse_expression(struct parser *p, bool with_choice) {
  if (!parser_enter(p)) return NULL;
  struct node *left = parse_or(p);
  while (left && with_choice && parser_accept(p, LEXEME_NAME, "if")) {
    left = node_pair(p, NODE_CHOICE, left, parse_or(p));
    if (left && parser_accept(p, LEXEME_NAME, "else") && !(left->c = parse_expression(p, true))) return NULL;
  }
  p->depth--;
  return left;
}
