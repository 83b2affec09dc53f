/* JSON as it stands in a text: where its values begin and end. What a client is to parse is passed on as the model
 * wrote it, so numbers of any size and members of one name are as good as others: json_parse would refuse them. */
#ifndef SPATE_SERVER_CALL_JSON_H
#define SPATE_SERVER_CALL_JSON_H

#include "base/json.h"

/* Bytes of the value that the text begins with; 0: it begins with none that is well-formed, or one that nests deeper
 * than LIMIT_JSON_DEPTH. */
size_t call_json_value(struct slice text);

/* The next member of an object, of which the bracket is behind: its name, in quotes, and its value. False: there is
 * none. The object has to be a value as above. */
bool call_json_member(struct slice *object, struct slice *name, struct slice *value);

/* The next of a list's values, in the same way. */
bool call_json_element(struct slice *list, struct slice *value);

/* What a string as above, in quotes, stands for; the caller's to json_decref. NULL: no UTF-8. */
json_t *call_json_string(struct slice quoted);

#endif
