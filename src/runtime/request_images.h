/* The images of a request: copied by whoever submits it or found by the worker in its conversation (request_sources.c),
 * prepared in a thread of the store, waited for by the step thread, dropped with the request. */
#ifndef SPATE_RUNTIME_REQUEST_IMAGES_H
#define SPATE_RUNTIME_REQUEST_IMAGES_H

#include "runtime/image_prompt.h"
#include "runtime/image_store.h"

/* An image as it was sent. */
struct image_source {
  struct slice data; /* a file's bytes, or a text: a data: URL, or base64 alone */
  struct slice mime; /* of a file, as its sender says; empty: nothing was said */
  bool text;
};

struct request_images {
  struct image_store *store; /* borrowed; NULL while there are none */
  int32_t n;
  struct image_source *source;  /* [n] owned, with their bytes; NULL once they are not needed any more */
  struct image_source *fetched; /* [n_fetched] owned: of a conversation, those from n_placed on have no place yet */
  int32_t n_fetched, n_placed;
  struct chat_text text;      /* the prompt, with a place for each image, between the worker and the store */
  bool raw;                   /* of no conversation: the tokenizer puts its own tokens around it */
  struct embed_entry **entry; /* [n] owned */
  int32_t n_skipped;          /* the first of them, whose tokens were all in the cache */
  struct embed_claim claim;   /* of the others, in entry; held */
  struct image_layout layout; /* once the prompt's tokens are known */
  int32_t *row;               /* [tokens of the prompt] owned: of the pool, which its sequences name */
  uint64_t prepare_us;        /* that decoding and preprocessing took */
  bool claimed, ready, again; /* again: it holds none any more, and is to have them prepared once more */
  bool whole;                 /* none is skipped: what was found of its prompt had gone when it was to start */
};

struct runtime;
struct request;
struct runtime_options;

/* The store, where the options have a form and a decoder. */
bool images_start(struct runtime *runtime, const struct runtime_options *options, struct error *error);

/* May so many images be sent? */
bool images_count_check(const struct runtime *runtime, int64_t count, struct error *error);

/* Copies one more. Before the request is queued with the store. */
bool request_images_add(struct request_images *images, const struct image_source *source, struct error *error);

/* Copies one that somebody has fetched, and gives the next of them the place of an address in the conversation: true
 * when the text is one and there is an image left for it. */
bool request_images_add_fetched(struct request_images *images, const struct image_source *source, struct error *error);
bool request_images_place(struct request_images *images, struct slice text);

/* http:// or https:// at its beginning. */
bool image_source_is_address(struct slice text);

/* Frees what was sent. */
void request_images_forget(struct request_images *images);
void request_images_release(struct request_images *images);

/* A thread of the store: makes the prompt's tokens of its text and of the images, which are held. */
bool request_images_expand(struct runtime *runtime, struct request *request, struct error *error);

/* The step thread: have the images of a live request come? Drops them with a request that has ended. False: it is live
 * no longer, and comes again. */
bool request_images_review(struct runtime *runtime, struct request *request);

/* The step thread: gives back what the request holds, which no step names any more. */
void request_images_drop(struct request_images *images);

/* The step thread, now and then: requests that wait to be prepared and are over are told. */
void images_review(struct runtime *runtime);

/* Whose turn it is. */
struct image_turn request_image_turn(const struct request *request);

/* The step thread, before each look for a step: a slice of a run of the encoder. *due: there is more to encode, or was.
 * False with an error that stops the engine. */
bool images_turn(struct runtime *runtime, bool *due, struct error *error);

#endif
