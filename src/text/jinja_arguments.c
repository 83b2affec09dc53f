/* What a call of a chat template is given. */
#include "text/jinja_parser.h"

static bool unpacks(const struct node_list *arguments) {
  return arguments->count && arguments->at[arguments->count - 1]->kind == NODE_UNPACK;
}

/* "*list" or "**map": each once, ** after everything else. */
static bool parse_unpacked(struct parser *p, struct node *call) {
  bool named = parser_sees_operator(p, "**");
  struct node_list *arguments = named ? &call->others : &call->items;
  struct node *node = node_new(p, NODE_UNPACK);
  if (unpacks(arguments) || unpacks(&call->others))
    return parser_fail(p, "more is unpacked than one list and one map.");
  p->at++;
  return node && (node->a = parse_expression(p, true)) && node_list_add(p, arguments, node);
}

/* "(a, b, *c, name=d, **e)", the parenthesis already seen. */
bool parse_arguments(struct parser *p, struct node *call) {
  if (!parser_expect(p, LEXEME_OPERATOR, "(")) return false;
  while (!parser_accept(p, LEXEME_OPERATOR, ")")) {
    if (call->items.count + call->others.count && !parser_expect(p, LEXEME_OPERATOR, ",")) return false;
    if (parser_accept(p, LEXEME_OPERATOR, ")")) break;
    if (parser_sees_operator(p, "*") || parser_sees_operator(p, "**")) {
      if (!parse_unpacked(p, call)) return false;
      continue;
    }
    if (unpacks(&call->others)) return parser_fail(p, "an argument follows **.");
    bool unpacked = unpacks(&call->items);
    bool named = p->at->kind == LEXEME_NAME && p->at[1].kind == LEXEME_OPERATOR && slice_is(p->at[1].text, "=");
    struct node *keyword = named ? node_new(p, NODE_KEYWORD) : NULL;
    if (named && keyword) {
      keyword->name = p->at->text;
      p->at += 2;
      if (!(keyword->a = parse_expression(p, true)) || !node_list_add(p, &call->others, keyword)) return false;
    } else if (named || !node_list_add(p, &call->items, parse_expression(p, true))) {
      return false;
    } else if (call->others.count || unpacked) {
      return parser_fail(p, "a positional argument follows %s.", unpacked ? "*" : "a named one");
    }
  }
  return true;
}
