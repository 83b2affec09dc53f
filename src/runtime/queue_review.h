/* What becomes of requests by waiting. The step thread's. */
#ifndef SPATE_RUNTIME_QUEUE_REVIEW_H
#define SPATE_RUNTIME_QUEUE_REVIEW_H

#include "runtime/request.h"

struct runtime;

/* Now and then: who waits behind how many? */
void queue_rank(struct runtime *runtime, uint64_t now_us);

/* Has a live request begun, been shed meanwhile, no chance to begin in time, or had its time? Ends it with a sentence.
 */
void queue_review(struct runtime *runtime, struct request *request, uint64_t now_us);

#endif
