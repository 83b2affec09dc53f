/* What the readers of calls share: untrusted text between marks, and the calls that are gathered from it. */
#ifndef SPATE_SERVER_CALL_TEXT_H
#define SPATE_SERVER_CALL_TEXT_H

#include "base/json.h"

struct slice call_trimmed(struct slice text); /* without spaces around it */
struct slice call_rest(struct slice text, size_t at);

/* What stands before the mark; the text goes on after it. False: it is not there. */
bool call_until(struct slice *text, const char *mark, struct slice *before);

/* The same of a value, behind the tag that begins it. False, too, where another begins in it: it has lost its end. */
bool call_value(struct slice *text, const char *begin, const char *end, struct slice *value);

/* Past a mark that the text begins with, after spaces. */
bool call_past(struct slice *text, const char *mark);

/* One more call. arguments: an object of JSON, or a string of JSON that holds one; null and nothing stand for none. */
bool call_add(json_t *calls, struct slice name, struct slice arguments);

/* The same with what the text begins with, after spaces; it goes on after it. */
bool call_add_next(json_t *calls, struct slice name, struct slice *text);

/* Arguments that are put together member by member. */
void call_arguments_begin(struct buffer *arguments);
bool call_arguments_name(struct buffer *arguments, struct slice name); /* of the next; what is appended is its value */
bool call_arguments_end(json_t *calls, struct slice name, struct buffer *arguments, bool fine); /* adds them if fine */

/* The next, written without quotes: a string where the tool says so, or where it is nothing else. */
bool call_add_value(struct buffer *arguments, struct slice name, struct slice value, const json_t *tool);

/* JSON, or the words that Python has for JSON's, appended as JSON. False: neither. */
bool call_any_value(struct buffer *out, struct slice text);

#endif
