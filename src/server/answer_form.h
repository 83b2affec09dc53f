/* How a route speaks: the bytes of whole answers, of the pieces of streams, and of failures in them. Forms are pure:
 * they read the answer and append to a buffer. generate_form.c has those of /generate, completion_form.c and
 * chat_form.c OpenAI's, vector_form.c those of texts that become numbers. */
#ifndef SPATE_SERVER_ANSWER_FORM_H
#define SPATE_SERVER_ANSWER_FORM_H

#include "base/buffer.h"
#include "base/json.h"
#include "server/answer_dialect.h"
#include "spate.h"

#include <stdatomic.h>

struct answer;
struct answer_parts;

/* One of the texts that answer a request. */
struct choice {
  struct choice *next;    /* in its loop's table */
  struct answer *answer;  /* that it is part of */
  uint64_t engine_id;     /* of spate_submit, in the first of a prompt's facts.n choices; 0: not submitted */
  int n_open;             /* there too: those of them that have not ended */
  int index;              /* in the answer */
  bool begun, ended;      /* a piece of it is out; the engine's last event has come */
  bool told;              /* its last piece is out */
  size_t told_characters; /* of the tokens whose log-probabilities are in earlier pieces */
  struct buffer text;     /* not sent yet: all so far, of a whole answer; of spate_embed its numbers, floats */
  /* Of a chat whose model marks what it thinks or calls; else NULL, and text is all. */
  struct answer_parts *parts; /* owned */
  struct buffer thought;      /* not sent yet, as text is */
  struct buffer calls;        /* objects of tool_calls, commas between them; not sent yet */
  int n_call;                 /* all so far */
  struct buffer logprobs;     /* spate_logprob [tokens of text][1 + top_logprobs] */
  struct buffer
      prompt_logprobs; /* in the first of a prompt's choices: [tokens of the prompt][1 + top_prompt_logprobs] */
  spate_finish finish;
  int stop_string;    /* of facts.stop, the one that ended it; −1: none */
  int32_t stop_token; /* −1: none */
  int prompt_tokens, cached_tokens, generated_tokens;
};

struct answer_form {
  const char *content_type;
  bool streams;
  /* All choices have ended. */
  void (*whole)(struct buffer *out, const struct answer *answer);
  /* The rest of a streaming form: a choice's waiting text (the last of it once it has ended) as a framed object, */
  void (*piece)(struct buffer *out, const struct choice *choice);
  /* what ends a stream that fails, */
  void (*failure)(struct buffer *out, const struct answer *answer, spate_code code, struct slice sentence);
  /* and what follows the last piece; NULL: nothing. */
  void (*close)(struct buffer *out, const struct answer *answer);
};

/* What forms may tell beside the texts. Strings are borrowed from the server but for the id. */
struct answer_facts {
  struct answer_dialect dialect;
  bool takes_apart;   /* its marks count: those of calls if there are tools */
  json_t *tools;      /* owned by the answer, in brief (tool_calls.h); NULL: none */
  size_t tools_bytes; /* counted in what waits */
  bool one_call, no_thought;
  const spate_engine *engine; /* tells tokens' texts */
  const char *model;
  char id[40];
  int64_t created;
  bool logprobs; /* were asked for */
  int top_logprobs;
  bool prompt_logprobs; /* were asked for; with echo and logprobs they go with those of the text */
  int top_prompt_logprobs;
  bool echo, include_usage;
  bool only_echo;  /* what is generated is not told */
  int n;           /* choices for each prompt, which is counted once */
  json_t *adapter; /* that model is the name of; owned by the answer; NULL: none */
  int n_query;     /* choices before those of documents, of a ranking by vectors: each pair's score is their likeness */
  int top_n;       /* of a ranking's results; 0: all */
  int similarity;  /* by which vectors are compared: SPATE_COSINE, … */
  json_t *documents; /* that a ranking tells again; owned by the answer; NULL: none */
  json_t *stop;      /* as the client sent it: a string or a list of them; owned by the answer; NULL: none */
};

struct loop_engine;

struct answer {
  struct text_feed *feed;    /* owned; texts on their way to the engine; NULL: it answers no texts */
  struct loop_engine *place; /* the engine whose answer it is, as its loop knows it (server_loop.c) */
  uint64_t http_id;          /* finds the request, while its client is there */
  const struct answer_form *form;
  struct answer_facts facts;
  bool begun;      /* the stream's head is out */
  bool stopped;    /* the client is slow: text waits */
  bool overflowed; /* more of a stream waited than may */
  bool detached;   /* the response is complete or the client gone: nobody but the choices points here */
  int n_choice, n_ended;
  int turn;                   /* the choice that is sent first when a slow client can take more */
  size_t kept;                /* bytes that wait in the choices */
  atomic_size_t *kept_by_all; /* and in all answers of the server */
  struct choice choice[];
};

extern const struct answer_form generate_whole, generate_sse, generate_ndjson;
extern const struct answer_form vectors_float, vectors_base64, ranking_whole, ranking_cohere, scores_whole,
    classes_whole;
extern const struct answer_form completion_whole, completion_stream, chat_whole, chat_stream;

/* Token counts over all choices: prompts and the part of them that the first choice of each found in the cache, and
 * generated ones. */
struct answer_usage {
  int prompt_tokens, cached_tokens, generated_tokens;
};

struct answer_usage answer_usage_of(const struct answer *answer);

/* ,"stop_reason": the stop string or the id of the stop token that ended the choice; null when neither did. */
void answer_write_stop_reason(struct buffer *out, const struct choice *choice);

#endif
