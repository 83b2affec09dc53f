/* The adapters of a request: taken from the store by whoever submits it, waited for and placed by the step thread,
 * dropped with the request. */
#ifndef SPATE_RUNTIME_REQUEST_ADAPTERS_H
#define SPATE_RUNTIME_REQUEST_ADAPTERS_H

#include "engine/adapter_store.h"
#include "plan/batch.h"

struct adapter_choice {
  struct slice name;
  float scale; /* multiplies α ÷ r */
};

struct request_adapters {
  struct adapter_store *store; /* borrowed */
  int32_t n;
  struct stored_adapter *stored[ROW_LORAS]; /* held */
  float scale[ROW_LORAS];
  bool ready; /* its sequences name them */
  bool runs;  /* its adapters count it so */
};

struct runtime;
struct request;
struct request_params;
struct runtime_options;

/* The store, where the options name a folder. */
bool adapters_start(struct runtime *runtime, const struct runtime_options *options, struct error *error);

/* Equal names are added up, what is multiplied with 0 is left out. False with a sentence: nothing is held. */
bool request_adapters_take(const struct runtime *runtime, struct request_adapters *adapters,
                           const struct request_params *params, struct error *error);
void request_adapters_drop(struct request_adapters *adapters);

/* The step thread: has what a live request waits for come, or failed, or has it begun? */
void request_adapters_review(struct runtime *runtime, struct request *request);

/* The step thread, before and after each look for a step: tells the schedule which slots are filled; has those that it
 * wants filled. */
void adapter_slots_tell(struct runtime *runtime);
void adapter_slots_fill(struct runtime *runtime);

#endif
