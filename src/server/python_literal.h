/* Calls as Python writes them, with literals as arguments: what some models were taught. Untrusted text. */
#ifndef SPATE_SERVER_PYTHON_LITERAL_H
#define SPATE_SERVER_PYTHON_LITERAL_H

#include "base/json.h"

/* "[name(key=value, …), …]", which the text goes on behind. Values are strings, numbers, True, False, None (also as
 * JSON writes them), lists, tuples and dictionaries with strings as keys. False for anything else, nesting over
 * LIMIT_JSON_DEPTH included; calls may then have been added. */
bool python_list_read(json_t *calls, struct slice *text);

/* One of them without the brackets, of a known tool. */
bool python_call_read(json_t *calls, struct slice *text, const json_t *tools);

#endif
