/* Calls as Python writes them, with literals as arguments: what some models were taught. Untrusted text. */
#ifndef SPATE_SERVER_PYTHON_LITERAL_H
#define SPATE_SERVER_PYTHON_LITERAL_H

#include "base/json.h"

/* "[name(key=value, …), …]" as a list of {"name": …, "arguments": {…}}, the caller's to json_decref. Values are
 * strings, numbers, True, False, None (also as JSON writes them), lists, tuples and dictionaries with strings as keys.
 * NULL for anything else, nesting over LIMIT_JSON_DEPTH included. */
json_t *python_calls_read(struct slice text);

#endif
