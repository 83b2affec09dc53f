/* Calls that a model writes without the marks of calls. */
#ifndef SPATE_SERVER_ANSWER_BARE_H
#define SPATE_SERVER_ANSWER_BARE_H

#include "base/json.h"

enum bare_begin {
  BARE_TEXT,
  BARE_PERHAPS, /* more has to come to tell */
  BARE_CALL,
  BARE_LIST, /* of Python's: [f( */
};

/* Whether the text begins as calls do, of those that begin with one of the brackets: {"name": of one of the tools or
 * another of their members, alone or in a list; [f( of a tool; or, where the brackets are a line end, with the name of
 * a tool, a line end and a brace. */
enum bare_begin bare_begins(const char *brackets, struct slice text, const json_t *tools);

/* The first place before `limit` from which on the text begins so, or may; limit: there is none. *begins: which. */
size_t bare_find(const char *brackets, struct slice text, size_t limit, const json_t *tools, enum bare_begin *begins);

#endif
