/* What the runtime's files share. Internal to the room. */
#ifndef SPATE_RUNTIME_RUNTIME_STATE_H
#define SPATE_RUNTIME_RUNTIME_STATE_H

#include "runtime/engine_probe.h"
#include "runtime/request_table.h"
#include "runtime/runtime.h"
#include "runtime/runtime_metrics.h"

struct runtime {
  struct loaded_engine *engine;
  const struct tokenizer *tokenizer;
  const struct chat_template *chat; /* NULL: chat_problem says why */
  const struct error *chat_problem;
  const struct engine_generation *defaults;
  struct request_table table;
  struct hash_key key; /* drawn at the start: of salts, and of what the schedule hashes */
  struct runtime_metrics metrics;
  struct adapter_store *adapters; /* NULL: there are none */
  struct image_store *images;     /* NULL: images_problem says why there is none */
  const struct error *images_problem;
  int32_t images_most; /* of one prompt */

  struct inbox_producer inboxes;                 /* the step thread's side of them */
  struct mailbox to_worker, to_step, to_watcher; /* no letters for the watcher, only the call to end */
  atomic_bool stopping;                          /* the worker ends when its mailbox is empty */
  atomic_bool draining;                          /* the step thread ends when all requests have */
  pthread_t worker, stepper, watcher;
  bool worker_started, stepper_started, watcher_started;

  /* the step thread's alone */
  struct schedule *schedule;
  int n_step_out;       /* submitted and not collected */
  struct request *live; /* list of all requests it owns */
  struct engine_probe probe;
  bool encodes;       /* texts, each in one step */
  bool streams;       /* as of the last step somebody runs */
  uint64_t ranked_us; /* when the schedule last counted who waits behind whom */
  uint64_t *placing;  /* [limits.adapters] ids of adapters that are being put into slots; 0: none is */
  int n_placing;
  uint64_t idle_us; /* as of runtime_options */
  uint64_t used_us; /* when a step for a request last ended; 0: none has since the cache's memory was given back */

  /* parking: the caller holds the program while parked is true */
  pthread_mutex_t park_lock;
  pthread_cond_t park_changed;
  bool park_wanted, parked;

  /* what stopped the engine; set once, under the lock, then `failed` */
  pthread_mutex_t failure_lock;
  struct error failure;
  atomic_bool failed;

  struct engine_verify verify;
  uint64_t stall_us;
  _Atomic uint64_t progress_us; /* when the last step, or part of one, ended, or there was last nothing to do */
};

/* The step thread: a request that has its adapters, or its images, is scheduled once it has both. */
void request_settle(struct runtime *runtime, struct request *request);

/* The step thread: a request that waits has its images prepared once more; false: it has failed. */
bool request_retreat(struct runtime *runtime, struct request *request);

/* Its prompt's tokens, or with images its text; the worker, or a thread of the store where the prompt is still as it
 * was sent. False: it is not to go on, and error says why if it is its own fault. */
bool request_tokenize(struct runtime *runtime, struct request *request);

/* The step thread: starts a step's body, and waits for the oldest's before it is collected. step_body.c. */
bool step_body_run(struct runtime *runtime, const struct batch *batch, struct error *error);
bool step_body_await(struct runtime *runtime, struct error *error);

/* The step thread: waits for the steps that are out, and tells what they have brought. */
bool steps_collect(struct runtime *runtime, struct error *error);

void *step_thread(void *runtime);
void *worker_thread(void *runtime);
void *watch_thread(void *runtime);

/* Stops the engine: everything live and everything to come is answered with this sentence. */
void runtime_stop(struct runtime *runtime, const struct error *error);

/* An answer may not pass max_seq_len: a longer max_tokens is cut to what the prompt leaves. False when the prompt
 * leaves nothing, or could never run, alone or with so many beams. */
bool runtime_answer_fit(const struct runtime *runtime, int32_t n_prompt, int32_t *max_tokens, int32_t n_beam,
                        struct error *error);

/* request_check.c: may it be submitted? Cuts max_tokens to what the prompt leaves, if that is known. */
bool request_check(const struct runtime *runtime, struct request_params *params, struct error *error);
/* Each beam tells its likeliest tokens, of which all that end a text may be some: are they few enough? */
bool request_check_beams(const struct request_params *params, const struct logit_rules *rules, struct error *error);

/* The failure's sentence; ERROR_NONE while there is none. */
struct error runtime_failure(struct runtime *runtime);

#endif
