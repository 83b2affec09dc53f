/* Statements of chat templates. */
#include "text/jinja_parser.h"

#include "base/limits.h"

#include <stdarg.h>
#include <stdio.h>

/* --- the parser's hands ----------------------------------------------------------------------------------------- */

bool parser_fail(struct parser *p, const char *format, ...) {
  char text[ERROR_TEXT_MAX];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return error_set(p->error, ERROR_FORMAT, "Line %d of the chat template: %s", p->at->line, text);
}

bool parser_enter(struct parser *p) {
  if (++p->depth <= LIMIT_TEMPLATE_DEPTH) return true;
  return parser_fail(p, "it nests deeper than %d levels.", LIMIT_TEMPLATE_DEPTH);
}

bool parser_accept(struct parser *p, enum lexeme_kind kind, const char *text) {
  if (!parser_sees(p, kind, text)) return false;
  p->at++;
  return true;
}

bool parser_expect(struct parser *p, enum lexeme_kind kind, const char *text) {
  if (parser_accept(p, kind, text)) return true;
  char found[64], wanted[64];
  struct lexeme want = {.kind = kind, .text = slice_text(text)};
  return parser_fail(p, "%s is expected where %s is.", lexeme_name(&want, wanted), lexeme_name(p->at, found));
}

bool parser_name(struct parser *p, struct slice *name) {
  char found[64];
  if (p->at->kind != LEXEME_NAME) return parser_fail(p, "a name is expected where %s is.", lexeme_name(p->at, found));
  *name = p->at++->text;
  return true;
}

struct node *node_new(struct parser *p, enum node_kind kind) {
  struct node *node = arena_alloc(p->arena, sizeof *node);
  if (!node) {
    compile_no_memory(p->error);
    return NULL;
  }
  node->kind = kind;
  node->line = p->at->line;
  return node;
}

bool node_list_add(struct parser *p, struct node_list *list, struct node *node) {
  if (!node) return false;
  if (list->count == list->capacity) {
    size_t capacity = list->capacity ? 2 * list->capacity : 4;
    struct node **at = arena_array(p->arena, capacity, sizeof *at);
    if (!at) return compile_no_memory(p->error);
    if (list->count) memcpy(at, list->at, list->count * sizeof *at);
    list->at = at;
    list->capacity = capacity;
  }
  list->at[list->count++] = node;
  return true;
}

/* --- bodies ----------------------------------------------------------------------------------------------------- */

static bool parse_statement(struct parser *p, struct node_list *body);

static bool ends_body(const struct parser *p, const char *const *ends) {
  if (p->at->kind != LEXEME_BLOCK_BEGIN) return false;
  for (; *ends; ends++)
    if (p->at[1].kind == LEXEME_NAME && slice_is(p->at[1].text, *ends)) return true;
  return false;
}

static bool parse_output(struct parser *p, struct node_list *body) {
  struct node *node = node_new(p, NODE_OUTPUT);
  struct marked *text = arena_alloc(p->arena, sizeof *text);
  if (!node || !text) return compile_no_memory(p->error);
  *text = (struct marked){.bytes = p->at->text.data, .size = p->at->text.size};
  node->value = (struct datum){.kind = DATUM_TEXT, .text = text};
  p->at++;
  return node_list_add(p, body, node);
}

static bool parse_print(struct parser *p, struct node_list *body) {
  struct node *node = node_new(p, NODE_PRINT);
  p->at++;
  if (!node || !(node->a = parse_tuple(p, true, false))) return false;
  return parser_expect(p, LEXEME_PRINT_END, "") && node_list_add(p, body, node);
}

/* Statements up to one of the words that end them, which is consumed with its "{%" but not with its "%}"; *end is the
 * word. No words: up to the end of the template. */
static bool parse_body(struct parser *p, const char *const *ends, struct slice *end, struct node_list *body) {
  if (!parser_enter(p)) return false;
  while (p->at->kind != LEXEME_END && !ends_body(p, ends)) {
    bool done = p->at->kind == LEXEME_DATA          ? parse_output(p, body)
                : p->at->kind == LEXEME_PRINT_BEGIN ? parse_print(p, body)
                                                    : parse_statement(p, body);
    if (!done) return false;
  }
  p->depth--;
  if (!*ends) return true;
  if (p->at->kind == LEXEME_END) return parser_fail(p, "{%% %s %%} is missing.", *ends);
  *end = p->at[1].text;
  p->at += 2;
  return true;
}

/* The body of a statement with one end, "%}" before it included. */
static bool parse_block(struct parser *p, const char *end, struct node_list *body) {
  struct slice word = {0};
  return parser_expect(p, LEXEME_BLOCK_END, "") && parse_body(p, (const char *const[]){end, NULL}, &word, body);
}

/* --- statements, after their word ------------------------------------------------------------------------------- */

static bool parse_if(struct parser *p, struct node *node) {
  static const char *const ends[] = {"endif", "elif", "else", NULL}, *const last[] = {"endif", NULL};
  struct slice word = slice_text("if");
  while (!slice_is(word, "endif")) {
    struct node *arm = node_new(p, NODE_ARM);
    bool always = slice_is(word, "else");
    if (!node_list_add(p, &node->items, arm)) return false;
    if (!always && !(arm->a = parse_tuple(p, false, false))) return false;
    if (!parser_expect(p, LEXEME_BLOCK_END, "") || !parse_body(p, always ? last : ends, &word, &arm->items))
      return false;
  }
  return true;
}

static bool parse_for(struct parser *p, struct node *node) {
  static const char *const ends[] = {"endfor", "else", NULL};
  struct slice word = {0};
  if (!(node->a = parse_target(p)) || !parser_expect(p, LEXEME_NAME, "in")) return false;
  if (!(node->b = parse_tuple(p, false, false))) return false;
  if (parser_accept(p, LEXEME_NAME, "if") && !(node->c = parse_expression(p, true))) return false;
  node->value = datum_bool(parser_accept(p, LEXEME_NAME, "recursive"));
  if (!parser_expect(p, LEXEME_BLOCK_END, "")) return false;
  p->loops++;
  bool done = parse_body(p, ends, &word, &node->items);
  p->loops--;
  return done && (!slice_is(word, "else") || parse_block(p, "endfor", &node->others));
}

static bool parse_set(struct parser *p, struct node *node) {
  if (!(node->a = parse_target(p))) return false;
  if (parser_accept(p, LEXEME_OPERATOR, "=")) return (node->b = parse_tuple(p, true, false)) != NULL;
  node->kind = NODE_SET_BLOCK;
  if (parser_sees_operator(p, "|") && !(node->b = parse_filters(p, NULL, false))) return false;
  return parse_block(p, "endset", &node->items);
}

/* A macro's body is run elsewhere: a break in it belongs to a loop in it. */
static bool parse_called(struct parser *p, struct node *node, const char *end) {
  int loops = p->loops;
  unsigned outer = p->uses;
  p->loops = 0;
  p->uses = 0;
  bool done = parse_block(p, end, &node->items);
  p->loops = loops;
  node->uses = p->uses;
  p->uses |= outer;
  return done;
}

/* "(name, name=default…)" */
static bool parse_signature(struct parser *p, struct node_list *parameters) {
  if (!parser_expect(p, LEXEME_OPERATOR, "(")) return false;
  while (!parser_accept(p, LEXEME_OPERATOR, ")")) {
    if (parameters->count && !parser_expect(p, LEXEME_OPERATOR, ",")) return false;
    if (parser_accept(p, LEXEME_OPERATOR, ")")) break;
    struct node *parameter = node_new(p, NODE_KEYWORD);
    if (!parameter || !parser_name(p, &parameter->name)) return false;
    if (parser_accept(p, LEXEME_OPERATOR, "=") && !(parameter->a = parse_expression(p, true))) return false;
    if (!node_list_add(p, parameters, parameter)) return false;
  }
  return true;
}

static bool parse_macro(struct parser *p, struct node *node) {
  return parser_name(p, &node->name) && parse_signature(p, &node->others) && parse_called(p, node, "endmacro");
}

static bool parse_call_block(struct parser *p, struct node *node) {
  if (parser_sees_operator(p, "(") && !parse_signature(p, &node->others)) return false;
  if (!(node->a = parse_expression(p, true))) return false;
  if (node->a->kind != NODE_CALL) return parser_fail(p, "{%% call %%} needs a call of a macro.");
  return parse_called(p, node, "endcall");
}

static bool parse_filter_block(struct parser *p, struct node *node) {
  return (node->b = parse_filters(p, NULL, true)) && parse_block(p, "endfilter", &node->items);
}

static bool parse_with(struct parser *p, struct node *node) {
  while (p->at->kind != LEXEME_BLOCK_END) {
    struct node *pair = node_new(p, NODE_KEYWORD);
    if (node->others.count && !parser_expect(p, LEXEME_OPERATOR, ",")) return false;
    if (!pair || !parser_name(p, &pair->name) || !parser_expect(p, LEXEME_OPERATOR, "=")) return false;
    if (!(pair->a = parse_expression(p, true)) || !node_list_add(p, &node->others, pair)) return false;
  }
  return parse_block(p, "endwith", &node->items);
}

/* "{% block name scoped %}…{% endblock name %}": in its place, as there is no inheritance. */
static bool parse_block_statement(struct parser *p, struct node *node) {
  if (!parser_name(p, &node->name)) return false;
  bool scoped = parser_accept(p, LEXEME_NAME, "scoped");
  node->value = datum_bool(scoped);
  if (parser_accept(p, LEXEME_NAME, "required"))
    return parser_fail(p, "a required block needs inheritance, which is not there.");
  if (!parse_called(p, node, "endblock")) return false;
  if (p->at->kind == LEXEME_NAME && slice_equal(p->at->text, node->name)) p->at++;
  return true;
}

static bool parse_autoescape(struct parser *p, struct node *node) {
  return (node->a = parse_expression(p, true)) && parse_block(p, "endautoescape", &node->items);
}

static bool parse_generation(struct parser *p, struct node *node) { return parse_called(p, node, "endgeneration"); }

static bool parse_jump(struct parser *p, struct node *node) {
  return p->loops > 0 ||
         parser_fail(p, "{%% %s %%} is outside of a loop.", node->kind == NODE_BREAK ? "break" : "continue");
}

static const struct {
  const char *word;
  enum node_kind kind;
  bool (*parse)(struct parser *p, struct node *node);
} statements[] = {
    {"if", NODE_IF, parse_if},
    {"for", NODE_FOR, parse_for},
    {"set", NODE_SET, parse_set},
    {"macro", NODE_MACRO, parse_macro},
    {"call", NODE_CALL_BLOCK, parse_call_block},
    {"filter", NODE_FILTER_BLOCK, parse_filter_block},
    {"with", NODE_WITH, parse_with},
    {"block", NODE_BLOCK, parse_block_statement},
    {"autoescape", NODE_AUTOESCAPE, parse_autoescape},
    {"generation", NODE_GENERATION, parse_generation},
    {"break", NODE_BREAK, parse_jump},
    {"continue", NODE_CONTINUE, parse_jump},
};

static bool parse_statement(struct parser *p, struct node_list *body) {
  struct slice word = {0};
  if (!parser_expect(p, LEXEME_BLOCK_BEGIN, "") || !parser_name(p, &word)) return false;
  for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
    if (!slice_is(word, statements[i].word)) continue;
    struct node *node = node_new(p, statements[i].kind);
    return node && statements[i].parse(p, node) && parser_expect(p, LEXEME_BLOCK_END, "") &&
           node_list_add(p, body, node);
  }
  p->at--;
  return parser_fail(p, "the statement \"%.*s\" is unknown, or out of place.", SLICE_ARGS(word));
}

const struct node_list *jinja_parse(struct slice source, struct arena *arena, struct error *error) {
  struct parser p = {.arena = arena, .error = error};
  struct node_list *body = arena_alloc(arena, sizeof *body);
  static const char *const no_end[] = {NULL};
  p.at = jinja_lex(source, arena, error);
  if (!p.at) return NULL;
  if (!body) {
    compile_no_memory(error);
    return NULL;
  }
  return parse_body(&p, no_end, &(struct slice){0}, body) ? body : NULL;
}
