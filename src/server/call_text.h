/* What the readers of calls share: untrusted text between marks, and the calls that are gathered from it. */
#ifndef SPATE_SERVER_CALL_TEXT_H
#define SPATE_SERVER_CALL_TEXT_H

#include "base/json.h"

struct slice call_trimmed(struct slice text); /* without spaces around it */
struct slice call_rest(struct slice text, size_t at);

/* What stands before the mark; the text goes on after it. False: it is not there. */
bool call_until(struct slice *text, const char *mark, struct slice *before);

/* Past a mark that the text begins with, after spaces. */
bool call_past(struct slice *text, const char *mark);

/* Bytes of the object or list of JSON that the text begins with: to the bracket that closes it; 0: none does. Text that
 * begins with neither has one byte, or its string: what reads them refuses it. *string: it ends within a string. */
size_t call_extent(struct slice text, bool *string);

/* One more call. Takes the arguments over: an object, or a string that holds one; NULL stands for none. */
bool call_add(json_t *calls, struct slice name, json_t *arguments);
bool call_add_json(json_t *calls, struct slice name, struct slice arguments);

/* One more argument, written without quotes: a string where the tool says so, or where it is nothing else. */
bool call_add_value(json_t *arguments, struct slice name, struct slice value, const json_t *tool);
json_t *call_any_value(struct slice text); /* JSON, or the words that Python has for JSON's; NULL: neither */

#endif
