/* One answer as it comes: what of it is noted, and when it is no answer. */
#ifndef SPATE_LOAD_LOAD_ANSWER_H
#define SPATE_LOAD_LOAD_ANSWER_H

#include "http/sse_reader.h"
#include "load/load_plan.h"

struct load_answer {
  struct load_request *request; /* sent_us is set; gets status, events and counts of tokens */
  struct sse_reader reader;
  struct buffer refusal; /* the body of another status than 200, its beginning */
  int generated;         /* tokens, as the events have counted them */
  bool last;             /* the answer's end has come */
};

void load_answer_init(struct load_answer *answer, struct load_request *request);
void load_answer_release(struct load_answer *answer);

/* False, with a sentence: what follows is of no use. */
bool load_answer_head(struct load_answer *answer, int status, const char *content_type, struct error *error);

/* now_us: since the run began. LOAD_OK: it may go on; otherwise with a sentence. */
enum load_end load_answer_body(struct load_answer *answer, struct slice bytes, uint64_t now_us, struct error *error);

/* The response was whole. Was the answer? */
enum load_end load_answer_finish(struct load_answer *answer, struct error *error);

#endif
