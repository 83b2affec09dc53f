/* What OpenAI's objects have in common. */
#ifndef SPATE_SERVER_OPENAI_TEXT_H
#define SPATE_SERVER_OPENAI_TEXT_H

#include "server/answer_form.h"

/* {"id":…,"object":…,"created":…,"model":…,"system_fingerprint":… */
void openai_write_head(struct buffer *out, const struct answer *answer, const char *object);

/* "finish_reason":…, null while the choice goes on. */
void openai_write_finish(struct buffer *out, const struct choice *choice);

/* "usage":{…} of all choices. */
void openai_write_usage(struct buffer *out, const struct answer *answer);

/* The end of a streamed object: the place of usage where it was asked for, and the frame. Releases the object. */
void openai_frame(struct buffer *out, const struct answer *answer, struct buffer *object);

/* What follows the last piece of a stream: usage where it was asked for, and [DONE]. */
void openai_close(struct buffer *out, const struct answer *answer, const char *object);

/* A stream that fails: the error as an event, and [DONE]. */
void openai_failure(struct buffer *out, const struct answer *answer, spate_code code, struct slice sentence);

/* {"error":{"message":…,"type":…,"param":…,"code":status}}; param: the field that is wrong, or NULL. */
void openai_write_error(struct buffer *out, int status, const char *param, struct slice sentence);

#endif
