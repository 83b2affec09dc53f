/* The log-probabilities that wait of a choice as JSON, in the shape of each API. Texts may be parts of characters,
 * which become U+FFFD; ids and bytes are exact. */
#ifndef SPATE_SERVER_ANSWER_LOGPROBS_H
#define SPATE_SERVER_ANSWER_LOGPROBS_H

#include "server/answer_form.h"

/* [{"id":…,"token":…,"logprob":…,"top_logprobs":[…]},…]; the inner list is there when it was asked for. */
void logprobs_write_native(struct buffer *out, const struct choice *choice);

/* {"content":[{"token":…,"logprob":…,"bytes":[…],"top_logprobs":[…]},…]} */
void logprobs_write_chat(struct buffer *out, const struct choice *choice);

/* {"tokens":[…],"token_logprobs":[…],"top_logprobs":[{…},…],"text_offset":[…]}; offsets go on from the characters of
 * the tokens that were told before, whose text may still be held back. */
void logprobs_write_completion(struct buffer *out, const struct choice *choice);

/* Characters of the tokens that wait. */
size_t logprobs_characters(const struct choice *choice);

/* ,"prompt_logprobs":… where there are any: as of /generate's tokens, and as vLLM's servers have them:
 * [null,{"id":{"logprob":…,"decoded_token":…},…},…]. */
void prompt_logprobs_write_native(struct buffer *out, const struct choice *choice);
void prompt_logprobs_write(struct buffer *out, const struct choice *choice);

#endif
