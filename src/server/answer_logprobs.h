/* Log-probabilities as JSON. */
#ifndef SPATE_SERVER_ANSWER_LOGPROBS_H
#define SPATE_SERVER_ANSWER_LOGPROBS_H

#include "base/buffer.h"
#include "spate.h"

/* Appends one object for each token of an event, with a comma before it unless out is empty:
 * {"id":…,"token":…,"logprob":…,"top_logprobs":[…]}; the list is there when it was asked for. */
bool answer_logprobs_write(struct buffer *out, const spate_engine *engine, const spate_event *event);

#endif
