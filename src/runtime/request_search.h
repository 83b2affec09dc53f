/* A request's beam search on the step thread: between the schedule, which computes beams, and beam_search.c, which
 * chooses; and then its answers, told as if their tokens came one by one. */
#ifndef SPATE_RUNTIME_REQUEST_SEARCH_H
#define SPATE_RUNTIME_REQUEST_SEARCH_H

#include "runtime/request.h"

/* A beam's EVENT_BEAM. When it was the last of this step the search goes on in the schedule, or is over: `searched`. */
void request_search_hear(struct schedule *schedule, struct generation *beam, const struct schedule_event *event);

/* Tells some of an answer's tokens, as far as the inbox has room. False when there are more to tell now. */
bool request_search_tell(struct generation *answer);

#endif
