/* Calls that a model writes without the marks of calls. */
#ifndef SPATE_SERVER_ANSWER_BARE_H
#define SPATE_SERVER_ANSWER_BARE_H

#include "base/json.h"

enum bare_begin { BARE_TEXT, BARE_PERHAPS /* more has to come to tell */, BARE_CALL };

/* Whether the text, which begins with a bracket, begins as calls do: {"name": or another of their members, alone or in
 * a list; [f( */
enum bare_begin bare_begins(struct slice text);

/* The same of a text that may begin with the name of one of the tools, a line end and a brace. */
enum bare_begin bare_line_begins(struct slice text, const json_t *tools);

#endif
