/* What routes answer with, in two tables: the fields of JSON objects, and the statuses of errors. /openapi.json and two
 * sections of docs/http-api.md are made from them, and a test compares answers with them. To add a field or a status: a
 * line in answer_table.c. */
#ifndef SPATE_SERVER_ANSWER_TABLE_H
#define SPATE_SERVER_ANSWER_TABLE_H

#include "server/routes.h"

/* Members of components/schemas. */
bool answer_schemas_write(struct buffer *out);

/* Members of components/responses: an error for each status. */
bool answer_errors_write(struct buffer *out);

/* Members of an operation's responses: the errors that it may answer with, each after a comma. */
bool answer_statuses_write(const struct route *route, enum method method, struct buffer *out);

/* Both tables in Markdown. */
bool answer_fields_markdown(struct buffer *out);
bool answer_statuses_markdown(struct buffer *out);

#endif
