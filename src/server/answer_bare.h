/* Calls that a model writes without the marks of calls. */
#ifndef SPATE_SERVER_ANSWER_BARE_H
#define SPATE_SERVER_ANSWER_BARE_H

#include "base/json.h"

enum bare_begin { BARE_TEXT, BARE_PERHAPS /* more has to come to tell */, BARE_CALL };

/* Whether the text begins as calls do, of those that begin with one of the brackets: {"name": or another of their
 * members, alone or in a list; [f( ; or, where the brackets are a line end, with the name of one of the tools, a line
 * end and a brace. */
enum bare_begin bare_begins(const char *brackets, struct slice text, const json_t *tools);

#endif
