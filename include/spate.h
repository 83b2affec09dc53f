/* Spate: LLM inference from C.
 *
 * Build an engine file from a model once, open it, submit prompts, take events from an inbox:
 *
 *   spate_open_options options;  spate_open_options_init(&options);  options.model = "model.gguf";
 *   spate_engine *engine = spate_open(&options, &error);
 *   spate_inbox *inbox = spate_inbox_new(engine, &error);
 *   spate_request request;  spate_request_init(engine, &request);  request.prompt = "Hello";  request.prompt_size = 5;
 *   uint64_t id = spate_submit(engine, inbox, &request, &error);
 *   while ((n = spate_inbox_take(inbox, events, 16, -1)) > 0) …until an event is SPATE_DONE or SPATE_FAILED
 *
 * Every function may be called from any thread, but an inbox has one consumer at a time. Functions that fail return
 * false, NULL or 0 and fill *error with a sentence. Each struct of options starts with its size, set by its _init
 * (which is inline, as spate_inbox_take is, so that it is the size that the program was compiled with): programs
 * compiled against an older header keep working. examples/embed.c is a whole program, examples/many_prompts.c one of
 * many requests. This header includes spate_embed.h (vectors of texts), spate_text.h (texts and tokens), spate_lora.h
 * (adapters), spate_image.h (images) and spate_tools.h, what is done with a model before and beside serving (build,
 * inspect, tokenize, bench). */
#ifndef SPATE_H
#define SPATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SPATE_API __attribute__((visibility("default")))

typedef struct spate_engine spate_engine;
typedef struct spate_inbox spate_inbox;

typedef enum {
  SPATE_OK,
  SPATE_INVALID,     /* the request or an option is wrong */
  SPATE_FORMAT,      /* a file is malformed */
  SPATE_UNSUPPORTED, /* well formed, but not something Spate does */
  SPATE_NOT_FOUND,
  SPATE_LIMIT,  /* over a limit of the engine */
  SPATE_MEMORY, /* does not fit */
  SPATE_IO,
  SPATE_BUSY, /* the queue is full: try again later */
  SPATE_CANCELLED,
  SPATE_DEVICE, /* the engine has stopped: open it again */
  SPATE_INTERNAL,
  SPATE_TIMEOUT, /* the request's timeout_s has passed */
} spate_code;

typedef struct {
  spate_code code;
  char text[512]; /* a sentence: what, expected against actual, what to do */
} spate_error;

SPATE_API const char *spate_version(void);

/* ---- engine ----------------------------------------------------------------------------------------------------- */

/* Called from the calling thread, at most about ten times a second and at the end of each stage. Returning false
 * cancels: nothing half made is left behind. */
typedef bool (*spate_progress)(void *user, const char *stage, uint64_t done, uint64_t total);

typedef struct spate_build_options spate_build_options; /* spate_tools.h */

typedef struct {
  size_t size;
  const char *model; /* an engine file, or a model: then its engine is built into the cache first. A path,
                        or ORG/NAME[:FILE or :QUANT][@REVISION] in the Hugging Face cache */
  const spate_build_options *build; /* for that build; NULL: defaults. model, output and progress are ignored; an
                                       engine file takes max_batch_size, opt_batch_size, max_num_tokens alone */
  const char *cache_dir;            /* NULL: $XDG_CACHE_HOME/spate or ~/.cache/spate */
  const char *backend;              /* NULL: the engine's target; "null" and "reference" are for tests */
  int threads;                      /* 0: what affinity and the cgroup allow */
  double free_gpu_memory_fraction;  /* of available memory (or the cgroup's limit) for the KV cache; 0: 0.3 */
  uint64_t kv_cache_memory;         /* bytes; overrides the fraction; 0: not set */
  const char *kv_cache_dtype;       /* "fp32", "fp16", "bf16", "fp8" (E4M3), "int8"; "auto" or NULL: fp32 for an FP32
                                       engine, else the 16 bits that attention is fastest with: bf16 on AMX, fp16
                                       elsewhere */
  int block_size;                   /* tokens of a KV block, a power of two up to 256; 0: 16 */
  int max_queue;                    /* waiting requests, more are refused as busy; 0: 1024 */
  spate_progress progress; /* of that build; where it takes long, "load", with beside to hash and again to load */
  void *user;
  const char *scheduler;    /* "continuous" (NULL), "dynamic" or "static" */
  int batch_delay_ms;       /* in which a dynamic batch forms; 0: 10 */
  bool no_block_reuse;      /* compute every prompt whole, whatever the KV cache holds (enable_block_reuse is false) */
  double stall_timeout_s;   /* work that waits so long without a step ending makes the engine unhealthy; 0: 60 */
  int64_t max_queue_tokens; /* of prompts and max_tokens of requests that have no token yet: more are refused as busy,
                               unless nothing else waits; 0: 16 × max_batch_size × max_seq_len */
  uint64_t cache_limit;     /* bytes of engines in the cache: those used longest ago are removed; 0: any number */
  const char *device;   /* that a model's engine is built for: "cpu", "cuda", or "auto" (NULL), which is the GPU when
                           there is one; an engine file has its own */
  bool no_fuse;         /* run every op alone, by its definition in double precision: slow, to compare answers with */
  int max_outputs;      /* tokens of a step whose logits can be had; 0: max_batch_size; evaluation wants 128 */
  bool batch_invariant; /* an answer's bytes do not depend on what else runs: always so on a CPU; on a GPU it takes
                           kernels that add in one order, and time */
  double target_itl_ms; /* between two tokens of a stream: steps are kept so short, and so few sequences run, that 99 of
                           100 gaps are below it; 0: no target */
  double idle_release_s; /* without a request, then a CPU's KV cache gives its memory back until the next; 0: never */
  const spate_engine *beside; /* goes on meanwhile: its memory is counted, and the file hashed first; NULL: none does */
  const char *lora_dir;       /* a folder of adapters, which requests may name (spate_lora.h); NULL: there are none */
  int max_loras;              /* of them on the device, and in one step, at most 256; 0: 4 */
  int max_lora_rank;          /* of the largest, at most 1024; 0: 16 */
  int max_cpu_loras;          /* in the host's memory, those used longest ago go; 0: 4 × max_loras */
  uint64_t lora_memory;       /* bytes that all of those may take; 0: a quarter of what is free when it opens */
  const char *image_helper;   /* a program that decodes images (spate_image.h); NULL: this one */
  int image_decoders;         /* of its processes, images at once, at most 16; 0: 2 */
  int max_images;             /* of one request, at most 64; 0: 16 */
  uint64_t image_cache_memory; /* bytes of encoded images, those in use included; 0: 256 MiB */
  int cpu_experts; /* of a mixture of experts on a GPU: so many layers' experts stay in the host's memory, the first
                      that there are; more than there are: all. Changes nothing elsewhere, which a warning says */
} spate_open_options;

static inline void spate_open_options_init(spate_open_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

SPATE_API spate_engine *spate_open(const spate_open_options *options, spate_error *error);

/* Cancels what runs, waits for the step in progress, frees everything. Inboxes must be freed first. NULL is allowed. */
SPATE_API void spate_close(spate_engine *engine);

typedef struct {
  size_t size;
  const char *name; /* of the model */
  const char *architecture;
  const char *device; /* backend, kernel set, threads */
  int vocab_size, max_batch_size, max_input_len, max_seq_len, max_num_tokens;
  uint64_t weight_bytes, kv_bytes;
  int64_t created;        /* seconds since 1970: when the engine was built */
  const char *kv_dtype;   /* of the KV cache, as kv_cache_dtype names it */
  double weights_seconds; /* that copying the weights to the device took; 0: they are read where they are mapped */
  double file_seconds, device_seconds, program_seconds; /* that opening took: file, device, memory and kernels */
  int task;                                             /* SPATE_TASK_GENERATE, … (spate_embed.h) */
  int vector_size; /* numbers of a text's vector, or labels; 0: the engine generates text */
  int similarity;  /* of two vectors: SPATE_COSINE, … */
  int cpu_experts; /* layers whose experts are in the host's memory beside a GPU */
  uint64_t host_weight_bytes, host_token_bytes; /* of all these experts, beside weight_bytes, and of those of a token */
  double host_gbs; /* 10^9 bytes of them a second that the GPU reads, measured when it opened */
  bool normalizes; /* vectors have a length of 1, unless a request asks for plain ones */
} spate_engine_info;

/* Set info->size = sizeof *info first: no more than that is written. Strings live as long as the engine. */
SPATE_API void spate_info(const spate_engine *engine, spate_engine_info *info);

/* True while steps make progress. Otherwise *error says what stopped the engine (SPATE_DEVICE), or that a step takes
 * longer than stall_timeout_s (SPATE_TIMEOUT: it may still end), or that it computes no finite numbers
 * (SPATE_INTERNAL). */
SPATE_API bool spate_healthy(const spate_engine *engine, spate_error *error);

/* The engine's metrics in the Prometheus text format, appended through write. */
SPATE_API bool spate_metrics(const spate_engine *engine, void (*write)(void *user, const char *text, size_t size),
                             void *user);

/* Counters that outlive engines: all that are added, before their first request, count as one in the metrics of each.
 * An engine belongs to the first that it is added to: adding it again, or to others, does nothing. Freed after they are
 * closed. */
typedef struct spate_totals spate_totals;
SPATE_API spate_totals *spate_totals_new(spate_error *error);
SPATE_API void spate_totals_add(spate_totals *totals, spate_engine *engine);
SPATE_API void spate_totals_free(spate_totals *totals); /* NULL is allowed */

/* ---- requests --------------------------------------------------------------------------------------------------- */

typedef struct {
  int32_t token;
  float bias; /* -100 to 100 */
} spate_logit_bias;

/* When a beam search ends that has beam_width texts: when what runs is unlikely to become better than the worst of them
 * (false), at once (true), or when it cannot become better (never). */
typedef enum { SPATE_EARLY_STOPPING_FALSE, SPATE_EARLY_STOPPING_TRUE, SPATE_EARLY_STOPPING_NEVER } spate_early_stopping;

typedef struct {
  size_t size;
  const char *prompt; /* UTF-8; taken raw, with BOS as the tokenizer says */
  size_t prompt_size;
  const int32_t *tokens; /* instead of prompt, when n_token > 0 */
  int n_token;
  int max_tokens;          /* 1 to max_seq_len, of which the prompt may leave less; default 256 */
  float temperature;       /* 0: greedy; default 1 or the model's */
  float top_p;             /* (0, 1] */
  int top_k;               /* 0: off */
  bool has_seed;           /* otherwise a seed is drawn */
  uint64_t seed;           /* any; HTTP takes 64 signed bits, the command line 0 to INT64_MAX */
  const char *const *stop; /* NUL-terminated strings; generation ends before the first that appears */
  int n_stop;
  bool ignore_eos; /* benches: generate max_tokens whatever comes */
  int priority;    /* lower runs first, and is the last to be given up (SPATE_BUSY) when the queue is full; default 0 */
  const char *cache_salt;   /* cached prefixes are shared among requests of one salt only; NULL: the common one */
  float min_p;              /* [0, 1]: least probability, as a part of the likeliest token's; 0: off */
  float typical_p;          /* [0, 1]: locally typical sampling; 0 and 1: off */
  float repetition_penalty; /* [0, 100], of the prompt's tokens and generated ones; 0 and 1: off */
  float frequency_penalty, presence_penalty; /* [-2, 2], of generated tokens */
  int min_tokens;                            /* before an end token, a stop token or a stop string ends it */
  const spate_logit_bias *logit_bias;        /* added to logits; at most 1024 */
  int n_logit_bias;
  const int32_t *allowed_token_ids; /* the only tokens generated, at most 16384; none: all are */
  int n_allowed_token_ids;
  const char *const *bad_words; /* texts never generated, also after a space; at most 256 of 256 bytes */
  int n_bad_words;
  const int32_t *stop_token_ids; /* end the generation as the model's own ends do; at most 64 */
  int n_stop_token_ids;
  bool include_stop_str_in_output; /* the text keeps the stop string, or the text of the stop token */
  bool logprobs;                   /* events carry the log-probability of each token */
  int top_logprobs;                /* and of so many likeliest tokens, 0 to 20 */
  bool chat;                       /* prompt is a conversation, in JSON as spate_chat_tokens takes it */
  int tenant;      /* 0 to 63: requests of one priority share by tokens between tenants, who share no cached prefixes */
  float timeout_s; /* from submission to the last token, at most; 0: no limit */
  int n;           /* answers, 1 (also 0) to 128; answer i draws with seed + i */
  bool use_beam_search; /* the n likeliest texts that a search finds, as transformers does; they come at its end */
  int beam_width;       /* of the search, n (also 0) to 16 */
  float length_penalty; /* texts are compared by log-probability ÷ length ^ length_penalty; default 1 */
  spate_early_stopping early_stopping;
  bool prompt_logprobs;    /* SPATE_PROMPT events come first; the prompt is computed whole, whatever the cache holds */
  int top_prompt_logprobs; /* with so many likeliest tokens at each place, 0 to 20 */
  const struct spate_lora *loras;   /* adapters that change the model for this request (spate_lora.h) */
  int n_loras;                      /* at most 4, and max_loras */
  const struct spate_image *images; /* beside a prompt of text, or a conversation's addresses (spate_image.h) */
  int n_images;                     /* at most max_images */
  bool write_special_tokens;        /* the text has them too; otherwise they are left out */
  bool write_marks;                 /* of them, those that end no text: marks around calls and thoughts */
} spate_request;

/* Fills what request->size covers with defaults, those of the model's generation config included. */
SPATE_API void spate_request_defaults(const spate_engine *engine, spate_request *request);

static inline void spate_request_init(const spate_engine *engine, spate_request *request) {
  request->size = sizeof *request;
  spate_request_defaults(engine, request);
}

typedef enum { SPATE_TEXT, SPATE_DONE, SPATE_FAILED, SPATE_PROMPT } spate_event_kind;
typedef enum { SPATE_FINISH_NONE, SPATE_FINISH_STOP, SPATE_FINISH_LENGTH, SPATE_FINISH_CANCELLED } spate_finish;

typedef struct {
  int32_t token;
  float logprob; /* natural log of its probability before penalties, temperature and filters; of a beam search after
                    penalties and bans */
} spate_logprob;

typedef struct {
  uint64_t id; /* of the request */
  spate_event_kind kind;
  spate_finish finish; /* SPATE_DONE */
  const char *text;    /* new text (DONE may carry the last of it), or the sentence of a failure; whole UTF-8
                          characters, not NUL-terminated; valid until the next take from this inbox */
  size_t text_size;
  int32_t token;        /* the last token that this event's text came from; −1: none */
  int generated_tokens; /* so far */
  int prompt_tokens, cached_tokens;
  spate_code code; /* SPATE_FAILED */
  int n_logprobs;  /* tokens since the last event, when logprobs are asked for */
  int top_logprobs;
  const spate_logprob *logprobs; /* [n_logprobs][1 + top_logprobs]: the token's, then those of the likeliest (token -1:
                                    there are no more); valid as text is. PROMPT: of the prompt's tokens; the first
                                                    follows nothing and has NaN */
  int answer;                    /* whose text it is, 0 to n − 1 */
  int stop_string;    /* SPATE_FINISH_STOP: index in the request's stop of the string that ended it; −1: none did */
  int32_t stop_token; /* the one of its stop_token_ids that did; −1: none, as when the model ended by itself */
  int32_t prompt_end[8]; /* TEXT, DONE: the prompt's last tokens; −1 before its first */
  int n_numbers;         /* DONE of spate_embed: the text's vector, or its labels' scores; valid as text is */
  const float *numbers;
} spate_event;

/* Copies the request and queues it. The id is never 0 and never used again; its events go to the inbox, ending with a
 * DONE for each answer, or one FAILED. 0 on failure: SPATE_INVALID, SPATE_LIMIT, SPATE_BUSY, SPATE_DEVICE. */
SPATE_API uint64_t spate_submit(spate_engine *engine, spate_inbox *inbox, const spate_request *request,
                                spate_error *error);

/* Never blocks; an unknown or finished id is ignored, and 0 means every request. Each still ends with an event. */
SPATE_API void spate_cancel(spate_engine *engine, uint64_t id);

SPATE_API spate_inbox *spate_inbox_new(spate_engine *engine, spate_error *error);
/* Cancels its requests; their events are dropped. */
SPATE_API void spate_inbox_free(spate_inbox *inbox);

/* Readable (poll, epoll) while events wait. */
SPATE_API int spate_inbox_descriptor(const spate_inbox *inbox);

/* spate_inbox_take below, for events of which each is event_size bytes: those of the header it was compiled with. */
SPATE_API int spate_inbox_take_sized(spate_inbox *inbox, void *events, size_t event_size, int max, int timeout_ms);

/* Takes up to max events; waits up to timeout_ms for the first (0: not at all, −1: for ever). Returns how many. An
 * inbox that is not emptied pauses its own sequences only. */
static inline int spate_inbox_take(spate_inbox *inbox, spate_event *events, int max, int timeout_ms) {
  return spate_inbox_take_sized(inbox, events, sizeof *events, max, timeout_ms);
}

/* The bytes that a token stands for, perhaps part of a character, while the engine is open; empty for an id that has
 * none or is out of range. Not NUL-terminated. */
SPATE_API const char *spate_token_text(const spate_engine *engine, int32_t token, size_t *size);

#ifdef __cplusplus
}
#endif

#include "spate_embed.h"
#include "spate_image.h"
#include "spate_lora.h"
#include "spate_text.h"
#include "spate_tools.h"

#endif
