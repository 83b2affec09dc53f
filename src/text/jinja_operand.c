/* What operators of chat templates apply to: a sign, a value, and behind it attributes, calls, filters and tests. */
#include "text/jinja_parser.h"

static struct node *node_constant(struct parser *p, struct datum value) {
  struct node *node = node_new(p, NODE_CONSTANT);
  if (node) node->value = value;
  return node;
}

/* --- values ----------------------------------------------------------------------------------------------------- */

static bool tuple_ends(const struct parser *p) {
  return p->at->kind == LEXEME_PRINT_END || p->at->kind == LEXEME_BLOCK_END || parser_sees_operator(p, ")") ||
         parser_sees_name(p, "in") || parser_sees_name(p, "recursive");
}

struct node *parse_tuple(struct parser *p, bool with_choice, bool in_parentheses) {
  struct node *tuple = node_new(p, NODE_TUPLE);
  bool comma = false;
  while (tuple && !tuple_ends(p)) {
    if (!node_list_add(p, &tuple->items, parse_expression(p, with_choice))) return NULL;
    if (!parser_accept(p, LEXEME_OPERATOR, ",")) break;
    comma = true;
  }
  if (!tuple || comma) return tuple;
  if (tuple->items.count) return tuple->items.at[0];
  if (in_parentheses) return tuple;
  parser_fail(p, "an expression is missing.");
  return NULL;
}

/* name, name.attribute (of a namespace), or several of them between commas. */
static struct node *parse_target_one(struct parser *p) {
  struct node *name;
  if (parser_accept(p, LEXEME_OPERATOR, "(")) {
    name = parse_target(p);
    return name && parser_expect(p, LEXEME_OPERATOR, ")") ? name : NULL;
  }
  name = node_new(p, NODE_NAME);
  if (!name || !parser_name(p, &name->name)) return NULL;
  if (!parser_accept(p, LEXEME_OPERATOR, ".")) return name;
  struct node *attribute = node_pair(p, NODE_ATTRIBUTE, name, name);
  return attribute && parser_name(p, &attribute->name) ? attribute : NULL;
}

struct node *parse_target(struct parser *p) {
  if (!parser_enter(p)) return NULL;
  struct node *first = parse_target_one(p), *tuple = NULL;
  while (first && parser_accept(p, LEXEME_OPERATOR, ",")) {
    if (!tuple && (!(tuple = node_new(p, NODE_TUPLE)) || !node_list_add(p, &tuple->items, first))) return NULL;
    if (tuple_ends(p) || parser_sees_operator(p, "=")) break;
    if (!node_list_add(p, &tuple->items, parse_target_one(p))) return NULL;
  }
  p->depth--;
  return tuple ? tuple : first;
}

static struct node *parse_list(struct parser *p) {
  struct node *list = node_new(p, NODE_LIST);
  while (list && !parser_accept(p, LEXEME_OPERATOR, "]")) {
    if (list->items.count && !parser_expect(p, LEXEME_OPERATOR, ",")) return NULL;
    if (parser_accept(p, LEXEME_OPERATOR, "]")) break;
    if (!node_list_add(p, &list->items, parse_expression(p, true))) return NULL;
  }
  return list;
}

static struct node *parse_dict(struct parser *p) {
  struct node *dict = node_new(p, NODE_DICT);
  while (dict && !parser_accept(p, LEXEME_OPERATOR, "}")) {
    if (dict->items.count && !parser_expect(p, LEXEME_OPERATOR, ",")) return NULL;
    if (parser_accept(p, LEXEME_OPERATOR, "}")) break;
    if (!node_list_add(p, &dict->items, parse_expression(p, true)) || !parser_expect(p, LEXEME_OPERATOR, ":") ||
        !node_list_add(p, &dict->items, parse_expression(p, true)))
      return NULL;
  }
  return dict;
}

/* Strings that follow each other are one. */
static struct node *parse_strings(struct parser *p) {
  size_t size = 0, used = 0, count = 0;
  for (; p->at[count].kind == LEXEME_STRING; count++) size += p->at[count].text.size;
  struct marked *text = arena_alloc(p->arena, sizeof *text);
  uint8_t *bytes = arena_alloc(p->arena, size);
  if (!text || !bytes) {
    compile_no_memory(p->error);
    return NULL;
  }
  for (size_t i = 0; i < count; used += p->at[i].text.size, i++)
    if (p->at[i].text.size) memcpy(bytes + used, p->at[i].text.data, p->at[i].text.size);
  *text = (struct marked){.bytes = bytes, .size = size};
  struct node *node = node_constant(p, (struct datum){.kind = DATUM_TEXT, .text = text});
  p->at += count;
  return node;
}

/* A whole number beyond 64 bits. */
static struct node *parse_big(struct parser *p) {
  struct marked *digits = arena_alloc(p->arena, sizeof *digits);
  if (!digits) {
    compile_no_memory(p->error);
    return NULL;
  }
  *digits = (struct marked){.bytes = p->at->text.data, .size = p->at->text.size};
  p->at++;
  return node_constant(p, (struct datum){.kind = DATUM_BIG, .text = digits});
}

static struct node *parse_word(struct parser *p) {
  struct slice name = p->at->text;
  struct node *node;
  if (slice_is(name, "true") || slice_is(name, "True"))
    node = node_constant(p, datum_bool(true));
  else if (slice_is(name, "false") || slice_is(name, "False"))
    node = node_constant(p, datum_bool(false));
  else if (slice_is(name, "none") || slice_is(name, "None"))
    node = node_constant(p, datum_none());
  else if ((node = node_new(p, NODE_NAME)))
    node->name = name;
  p->uses |= slice_is(name, "varargs") ? USES_VARARGS : 0;
  p->uses |= slice_is(name, "kwargs") ? USES_KWARGS : slice_is(name, "caller") ? USES_CALLER : 0;
  p->at++;
  return node;
}

static struct node *parse_primary(struct parser *p) {
  const struct lexeme *lexeme = p->at;
  switch (lexeme->kind) {
  case LEXEME_NAME: return parse_word(p);
  case LEXEME_STRING: return parse_strings(p);
  case LEXEME_INTEGER: p->at++; return node_constant(p, datum_int(lexeme->integer));
  case LEXEME_BIG: return parse_big(p);
  case LEXEME_FLOAT: p->at++; return node_constant(p, datum_float(lexeme->number));
  default: break;
  }
  if (parser_accept(p, LEXEME_OPERATOR, "[")) return parse_list(p);
  if (parser_accept(p, LEXEME_OPERATOR, "{")) return parse_dict(p);
  if (parser_accept(p, LEXEME_OPERATOR, "(")) {
    struct node *tuple = parse_tuple(p, true, true);
    return tuple && parser_expect(p, LEXEME_OPERATOR, ")") ? tuple : NULL;
  }
  if (lexeme->kind == LEXEME_OPERATOR)
    parser_fail(p, "\"%.*s\" stands where a value is expected.", SLICE_ARGS(lexeme->text));
  else
    parser_fail(p, "a value is missing.");
  return NULL;
}

/* --- behind a value --------------------------------------------------------------------------------------------- */

/* After "object[": an item or a slice. */
static struct node *parse_subscript(struct parser *p, struct node *object) {
  struct node *bounds[3] = {0}, *node = node_new(p, NODE_ITEM);
  int colons = 0;
  if (!node) return NULL;
  node->a = object;
  while (!parser_accept(p, LEXEME_OPERATOR, "]")) {
    if (parser_accept(p, LEXEME_OPERATOR, ":")) {
      if (++colons > 2) break;
    } else if (bounds[colons] || !(bounds[colons] = parse_expression(p, true))) {
      if (bounds[colons]) parser_expect(p, LEXEME_OPERATOR, "]");
      return NULL;
    }
  }
  node->b = bounds[0];
  if (!colons && bounds[0]) return node;
  if (!colons || colons > 2) {
    parser_fail(p, "the brackets hold neither an index nor a slice.");
    return NULL;
  }
  node->kind = NODE_SLICE;
  node->items.at = arena_array(p->arena, 3, sizeof *node->items.at);
  if (!node->items.at) {
    compile_no_memory(p->error);
    return NULL;
  }
  memcpy(node->items.at, bounds, sizeof bounds);
  node->items.count = 3;
  return node;
}

/* After "object.": a name, or the index of an item. */
static struct node *parse_attribute(struct parser *p, struct node *object) {
  if (p->at->kind == LEXEME_INTEGER) {
    struct node *index = node_constant(p, datum_int(p->at->integer));
    p->at++;
    return node_pair(p, NODE_ITEM, object, index);
  }
  struct node *node = node_new(p, NODE_ATTRIBUTE);
  if (!node || !parser_name(p, &node->name)) return NULL;
  node->a = object;
  return node;
}

static struct node *parse_postfix(struct parser *p, struct node *node) {
  while (node) {
    if (parser_accept(p, LEXEME_OPERATOR, ".")) {
      node = parse_attribute(p, node);
    } else if (parser_accept(p, LEXEME_OPERATOR, "[")) {
      node = parse_subscript(p, node);
    } else if (parser_sees_operator(p, "(")) {
      struct node *call = node_new(p, NODE_CALL);
      if (!call || !parse_arguments(p, call)) return NULL;
      call->a = node;
      node = call;
    } else {
      break;
    }
  }
  return node;
}

struct node *parse_filters(struct parser *p, struct node *subject, bool without_bar) {
  while (without_bar || parser_accept(p, LEXEME_OPERATOR, "|")) {
    struct node *node = node_new(p, NODE_FILTER);
    without_bar = false;
    if (!node || !parser_name(p, &node->name)) return NULL;
    if (parser_sees_operator(p, "(") && !parse_arguments(p, node)) return NULL;
    node->a = subject;
    subject = node;
  }
  return subject;
}

static bool starts_test_argument(const struct parser *p) {
  if (p->at->kind == LEXEME_NAME)
    return !parser_sees_name(p, "else") && !parser_sees_name(p, "or") && !parser_sees_name(p, "and") &&
           !parser_sees_name(p, "is") && !parser_sees_name(p, "if") && !parser_sees_name(p, "in") &&
           !parser_sees_name(p, "not");
  return p->at->kind == LEXEME_STRING || p->at->kind == LEXEME_INTEGER || p->at->kind == LEXEME_BIG ||
         p->at->kind == LEXEME_FLOAT || parser_sees_operator(p, "[") || parser_sees_operator(p, "{");
}

/* After "is": "not" name, arguments in parentheses or one without. */
static struct node *parse_test(struct parser *p, struct node *subject) {
  bool negated = parser_accept(p, LEXEME_NAME, "not");
  struct node *test = node_new(p, NODE_TEST), *node;
  if (!test || !parser_name(p, &test->name)) return NULL;
  test->a = subject;
  if (parser_sees_operator(p, "(")) {
    if (!parse_arguments(p, test)) return NULL;
  } else if (starts_test_argument(p)) {
    if (!node_list_add(p, &test->items, parse_postfix(p, parse_primary(p)))) return NULL;
  }
  if (!negated || !(node = node_new(p, NODE_NOT))) return negated ? NULL : test;
  node->a = test;
  return node;
}

/* Filters, tests, and calls of what they give. */
static struct node *parse_behind(struct parser *p, struct node *node) {
  while (node) {
    if (parser_sees_operator(p, "|"))
      node = parse_filters(p, node, false);
    else if (parser_accept(p, LEXEME_NAME, "is"))
      node = parse_test(p, node);
    else if (parser_sees_operator(p, "("))
      node = parse_postfix(p, node);
    else
      break;
  }
  return node;
}

struct node *parse_unary(struct parser *p, bool with_filters) {
  struct node *node;
  if (!parser_enter(p)) return NULL;
  bool minus = parser_sees_operator(p, "-");
  if (minus || parser_sees_operator(p, "+")) {
    node = node_new(p, minus ? NODE_NEGATE : NODE_POSITIVE);
    p->at++;
    if (!node || !(node->a = parse_unary(p, false))) return NULL;
  } else {
    node = parse_primary(p);
  }
  node = parse_postfix(p, node);
  if (with_filters) node = parse_behind(p, node);
  p->depth--;
  return node;
}
