/* A request on its way through the runtime: submitted by any thread, then owned by a worker (which tokenizes), then by
 * the step thread until its last event is in the inbox. Only `cancelled`, `place` and `queued_tokens` are touched by
 * others. It has a generation for each of its answers, or for each beam of its search. */
#ifndef SPATE_RUNTIME_REQUEST_H
#define SPATE_RUNTIME_REQUEST_H

#include "engine/engine_config.h"
#include "runtime/beam_search.h"
#include "runtime/generation.h"
#include "runtime/request_adapters.h"
#include "runtime/request_images.h"

struct request_params {
  struct slice prompt;   /* text, when n_token is 0 */
  bool vector;           /* of an engine that encodes: what is wanted is what the text becomes */
  struct slice lead;     /* before that text */
  bool again;            /* who is refused for want of room asks again: it does not count as refused */
  int32_t behind;        /* its turn is as if so many others had come before it */
  struct slice pair;     /* a second text behind it; no data: there is none */
  int32_t dimensions;    /* the first numbers of the vector; 0: all */
  int32_t cut;           /* tokens that a longer text is cut to, those around it included; 0: it is refused */
  int32_t last_most;     /* tokens of the pair, or without one of the prompt, that count; 0: all */
  bool plain;            /* the numbers as the network gives them */
  bool chat;             /* the prompt is a conversation in JSON */
  const int32_t *tokens; /* instead of text */
  int32_t n_token;
  int32_t n_answer; /* 1 to LIMIT_REQUEST_CHOICES; answer i draws with seed + i */
  int32_t max_tokens;
  int32_t n_beam; /* 0: no beam search; otherwise at least n_answer, and the best beams are the answers */
  float length_penalty;
  enum early_stop early_stop;
  struct sampling sampling; /* index and history are the schedule's, rules the request's */
  struct rule_params rules;
  const struct slice *stop;
  int32_t n_stop;
  bool show_stop;       /* what stopped it is part of the text */
  unsigned detokenize;  /* flags of detokenizer.h: which special tokens are too */
  bool scores_prompt;   /* events with the log-probabilities of the prompt's tokens */
  int32_t n_prompt_top; /* and of so many likeliest at each place */
  int32_t priority;
  float timeout_s;         /* from submission to the last token; 0: none */
  int32_t tenant;          /* [0, SCHEDULE_TENANTS): those of one priority share by tokens */
  struct slice cache_salt; /* cached prefixes are shared among requests of one salt only */
  const struct adapter_choice *adapter;
  int32_t n_adapter;
  const struct image_source *image; /* beside a prompt of text, in the order of their marks; of a conversation: of the
                                       addresses in it */
  int32_t n_image;
};

/* Scores of prompt tokens on their way to the inbox. */
struct prompt_scores {
  int32_t n_row, max_row;
  struct token_logprob row[]; /* [max_row][1 + n_prompt_top] */
};

/* Who waits may be shed by those that submit (request_table.c), until the step thread has begun it. */
enum request_place { REQUEST_WAITS, REQUEST_BEGUN, REQUEST_SHED };

/* Its place in a full queue is one of better priority's; its timeout_s would be over before it begins. */
enum shed_reason { SHED_NOT, SHED_FOR_OTHERS, SHED_TOO_LATE, SHED_REASONS };

struct request {
  struct letter letter; /* first: a letter is its request */
  uint64_t id;
  struct inbox *inbox; /* held */
  atomic_bool cancelled;
  size_t charge;                 /* bytes counted against LIMIT_QUEUED_BYTES */
  _Atomic int64_t queued_tokens; /* of prompt and answers, counted against max_queue_tokens until its first step ends */
  _Atomic(enum request_place) place;

  char *prompt; /* owned; freed once tokenized */
  size_t prompt_size;
  size_t lead_size; /* of it, what stands before the text */
  char *pair;       /* the same of a second text; NULL: none */
  size_t pair_size;
  bool plain;
  int32_t cut, last_most;
  int32_t n_number; /* wanted of the vector; 0: it is a request for text */
  float *numbers;   /* [n_number] owned */
  bool chat;
  int32_t max_tokens;
  struct logit_rules *rules; /* owned */
  int32_t n_stop_token;      /* of its ends, those that the request asked for */
  bool show_stop;
  unsigned detokenize;
  bool want_logprob; /* of the answers' tokens, */
  int32_t n_top;     /* and so many likeliest */
  struct request_adapters adapters;
  struct request_images images;
  struct error error; /* code set: it ends with FAILED, */
  bool unfit;         /* for what the request is, which took a worker to see */
  uint64_t submitted_us;
  uint64_t first_us, last_us; /* of its first and its last token; 0: none yet */
  uint64_t deadline_us;       /* UINT64_MAX: none */

  struct prompt_scores *scores; /* owned; NULL: none wanted */
  int32_t n_beam;               /* 0: no search */
  float length_penalty;
  enum early_stop early_stop;
  struct beam_search *search; /* owned */
  bool searched;              /* the search is over, its answers are being told */
  struct sequence_group group;
  int32_t n_answer;
  int32_t n_over;                  /* generations that are */
  bool counted;                    /* in the metrics, as ended */
  enum shed_reason shed;           /* given up before it began */
  struct request *previous, *next; /* the step thread's list of all it owns */
  int32_t n_generation;            /* answers, or beams */
  struct generation generation[];
};

/* Copies everything; the inbox is held; rules (of rules_compile) and the adapters become its own, on failure too.
 * max_score: rows of prompt scores that may wait. NULL with a sentence when a stop string is refused or memory is
 * short. */
struct request *request_new(const struct request_params *params, struct logit_rules *rules,
                            struct request_adapters *adapters, int32_t max_score, struct inbox *inbox,
                            struct error *error);
void request_free(struct request *request);

/* Its vector: normed, or made into what labels have, as the engine says. */
void request_hear_vector(struct request *request, const struct engine_encoder *encoder, const float *vector);

/* Bytes that request_new and request_set_tokens take, with a prompt of so many tokens at most, less rules' own. */
size_t request_charge(const struct request_params *params, int32_t max_score, int32_t n_prompt);

/* Tokens of the request with a prompt of so many, if each of its answers becomes as long as it may. */
static inline int64_t request_tokens(const struct request *request, int32_t n_prompt) {
  return n_prompt + (int64_t)request->max_tokens * request->n_generation;
}

/* Moves the prompt's ids into the sequences, with room for what will be generated. */
bool request_set_tokens(struct request *request, const int32_t *tokens, int32_t count, struct error *error);

void request_end(struct request *request, enum finish_reason finish);
void request_fail(struct request *request, const struct error *error);

/* Has every generation ended? */
bool request_ended(const struct request *request);

/* A prompt token's score. */
void request_score(struct request *request, const struct schedule_event *event);

/* Pushes the scores that wait; true when none are left. */
bool request_deliver_scores(struct request *request);

#endif
