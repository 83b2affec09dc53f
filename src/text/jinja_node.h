/* The syntax tree of a template, in the template's arena, read-only once parsed. */
#ifndef SPATE_TEXT_JINJA_NODE_H
#define SPATE_TEXT_JINJA_NODE_H

#include "text/jinja_datum.h"

enum operator_kind {
  OPERATOR_NONE,
  OPERATOR_ADD,
  OPERATOR_SUBTRACT,
  OPERATOR_MULTIPLY,
  OPERATOR_DIVIDE,
  OPERATOR_FLOOR_DIVIDE,
  OPERATOR_MODULO,
  OPERATOR_POWER,
  OPERATOR_CONCATENATE,
  OPERATOR_EQUAL,
  OPERATOR_NOT_EQUAL,
  OPERATOR_LESS,
  OPERATOR_LESS_EQUAL,
  OPERATOR_GREATER,
  OPERATOR_GREATER_EQUAL,
  OPERATOR_IN,
  OPERATOR_NOT_IN,
};

/* Beside each kind: the fields of struct node that it uses. */
enum node_kind {
  /* expressions */
  NODE_CONSTANT,  /* value */
  NODE_NAME,      /* name */
  NODE_LIST,      /* items */
  NODE_TUPLE,     /* items */
  NODE_DICT,      /* items: key, value, key, value... */
  NODE_ATTRIBUTE, /* a.name */
  NODE_ITEM,      /* a[b] */
  NODE_SLICE,     /* a[items[0]:items[1]:items[2]], each may be NULL */
  NODE_CALL,      /* a(items, others: NODE_KEYWORD) */
  NODE_KEYWORD,   /* name=a */
  NODE_UNPACK,    /* *a as the last of the positional arguments, **a as the last of the named ones */
  NODE_FILTER,    /* a|name(items, others); a NULL: the text of the block */
  NODE_TEST,      /* a is name(items, others) */
  NODE_NOT,       /* not a */
  NODE_NEGATE,    /* -a */
  NODE_POSITIVE,  /* +a */
  NODE_BINARY,    /* a op b */
  NODE_AND,       /* a and b */
  NODE_OR,        /* a or b */
  NODE_COMPARE,   /* a, then items: NODE_OPERAND */
  NODE_OPERAND,   /* op a */
  NODE_CHOICE,    /* a if b else c; c may be NULL */
  /* statements */
  NODE_OUTPUT,       /* value: text of the template */
  NODE_PRINT,        /* a */
  NODE_IF,           /* items: NODE_ARM */
  NODE_ARM,          /* if a (NULL: always), then items */
  NODE_FOR,          /* for a in b if c (may be NULL), items; else others; value: whether it is recursive */
  NODE_SET,          /* a = b */
  NODE_SET_BLOCK,    /* a = items, through the filters b (may be NULL) */
  NODE_MACRO,        /* uses; name(others: NODE_KEYWORD with a NULL when there is no default), items */
  NODE_CALL_BLOCK,   /* uses; a: NODE_CALL; the caller: others, items */
  NODE_FILTER_BLOCK, /* items through the filters b */
  NODE_WITH,         /* others: NODE_KEYWORD, items */
  NODE_BLOCK,        /* items, in a scope that sees the template's own variables alone, or (value) those around it */
  NODE_AUTOESCAPE,   /* items, in a scope of their own; a: must be false */
  NODE_GENERATION,   /* items: what transformers marks as the assistant's; a scope of its own */
  NODE_BREAK,
  NODE_CONTINUE,
};

struct node_list {
  struct node **at;
  size_t count, capacity;
};

/* Names that a macro has because its body asks for them. */
enum { USES_VARARGS = 1, USES_KWARGS = 2, USES_CALLER = 4 };

struct node {
  enum node_kind kind;
  enum operator_kind op;
  int line;
  unsigned uses; /* USES_* */
  struct slice name;
  struct datum value;
  struct node *a, *b, *c;
  struct node_list items, others;
};

#endif
