/* Descriptions made from the tables of routes and fields. */
#ifndef SPATE_SERVER_OPENAPI_H
#define SPATE_SERVER_OPENAPI_H

#include "base/buffer.h"

/* Appends the OpenAPI 3.1 description of the server. root_path: see struct server_options; may be empty. */
bool openapi_write(struct slice root_path, struct buffer *out);

/* Appends the fields of a generation request as a table in Markdown: a section of docs/http-api.md. */
bool request_fields_markdown(struct buffer *out);

#endif
