/* One value of a request's JSON: checked against its field's line in the table and stored in the request. */
#ifndef SPATE_SERVER_FIELD_VALUE_H
#define SPATE_SERVER_FIELD_VALUE_H

#include "server/generate_request.h"
#include "server/request_fields.h"

/* False when the value is not what the field takes (or memory is short). Strings are borrowed from the JSON. */
bool field_store(struct generate_request *request, const struct request_field *field, json_t *value);

/* Appends what a value is: numbers and booleans as they are, the rest by kind, for a string may be a megabyte. */
void field_value_describe(const json_t *value, struct buffer *out);

#endif
