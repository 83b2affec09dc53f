/* Errors and streams, as every route of this server answers them. */
#ifndef SPATE_SERVER_REPLY_H
#define SPATE_SERVER_REPLY_H

#include "base/buffer.h"
#include "http/http_request.h"
#include "spate.h"

#define JSON_CONTENT_TYPE "application/json"

/* As http_respond_error and http_stream_begin; headers may be NULL. */
void reply_error(struct http_request *request, int status, const char *headers, const char *sentence);
void reply_stream(struct http_request *request, const char *content_type);

/* The same of a client's mistake in a field (NULL: in none). On OpenAI's paths errors are OpenAI's objects, which name
 * the field; elsewhere they are {"error": sentence}. */
void reply_field_error(struct http_request *request, int status, const char *field, const char *sentence);

/* The JSON of such an error; those that the server answers with before a route is asked are written by it too. */
void reply_write_error(struct buffer *out, const struct http_request *request, int status, const char *field,
                       const char *sentence);

/* Answers an engine's error: the status comes from the one table that maps codes to it. */
void reply_engine_error(struct http_request *request, spate_code code, const char *sentence);

int reply_status(spate_code code);

#endif
