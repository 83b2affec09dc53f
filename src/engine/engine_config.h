/* What an engine was built for: the limits that serving enforces, and the model's own generation defaults. Plain data
 * of fixed layout, stored in the engine file as it is. Zero in a build option means "the default". */
#ifndef SPATE_ENGINE_ENGINE_CONFIG_H
#define SPATE_ENGINE_ENGINE_CONFIG_H

#include "base/error.h"

#include <stdint.h>

enum kv_cache_type {
  KV_CACHE_PAGED = 1,  /* blocks of a few tokens, taken as a sequence grows */
  KV_CACHE_CONTIGUOUS, /* one block per sequence, of max_seq_len tokens rounded up to a power of two */
};

enum quant_mode {
  QUANT_AS_FILE = 1, /* each weight keeps the numbers of its file, bit for bit */
  QUANT_FP32,        /* everything as F32, quantized files too: for parity checks */
  QUANT_FP16,
  QUANT_BF16,
  QUANT_INT8_WEIGHT, /* symmetric, groups of 32 */
  QUANT_INT4_WEIGHT, /* scale and minimum, groups of 32; the embedding and the head stay INT8 */
  QUANT_FP8,         /* E4M3, a scale for each row and for each token; the embedding and the head are BF16 */
  QUANT_W8A8,        /* the same with 8-bit integers */
  QUANT_AUTO,        /* each matrix by what it would lose, within an average of bits (build/auto_choice.h) */
};

/* How the numbers of an integer quant_mode are found. All but the first watch the network read a text. */
enum quant_method {
  QUANT_ROUND = 1, /* to nearest */
  QUANT_AWQ,       /* with factors on columns that large inputs meet */
  QUANT_GPTQ,      /* each column's error made up for by later columns */
  QUANT_SMOOTH,    /* SmoothQuant: inputs' peaks moved into the weights */
};

struct engine_config {
  int32_t max_batch_size; /* sequences in a step; default 32 */
  int32_t opt_batch_size; /* the decode batch that kernel choices are timed at; default min(16, max_batch_size) */
  int32_t max_input_len;  /* tokens of a prompt; default max_seq_len − 1 */
  int32_t max_seq_len;    /* tokens of a prompt and its answer; default min(8192, the model's longest) */
  int32_t max_num_tokens; /* tokens of a step; default max(512, max_batch_size) */
  uint8_t kv_cache_type;  /* enum kv_cache_type; default paged */
  uint8_t quant_mode;     /* enum quant_mode; default as the file is */
  uint8_t quant_method;   /* enum quant_method; default to nearest */
  uint8_t encodes;        /* 1: texts become vectors, and there are no answers beside them: each is of one step */
};

/* What an opening may choose anew, as no weight is packed by it; 0: as built. */
struct step_limits {
  int32_t max_batch_size, opt_batch_size, max_num_tokens;
};

enum { GENERATION_END_MAX = 16 };

/* What a request gets when it does not say. Ends of generation from the checkpoint's configs come on top of those that
 * the tokenizer knows. */
struct engine_generation {
  float temperature, top_p;                   /* 1, 1 when the model does not say */
  float min_p, typical_p, repetition_penalty; /* 0, 1, 1 */
  int32_t top_k;                              /* 0: off */
  int32_t n_end;
  int32_t end[GENERATION_END_MAX]; /* token ids */
};

enum encoder_task { TASK_GENERATE, TASK_EMBED, TASK_CLASSIFY };
enum { ENCODER_LABEL_BYTES = 2048, ENCODER_PROMPT_BYTES = 4096, FRAME_IDS = 4 };

/* How alike two vectors are; of the distances the negative counts. */
enum vector_measure { MEASURE_COSINE, MEASURE_DOT, MEASURE_EUCLIDEAN, MEASURE_MANHATTAN, VECTOR_MEASURES };

/* Tokens around a text and, of a pair, between the two; −1 behind the last of each. */
struct text_frame {
  int32_t before[FRAME_IDS], middle[FRAME_IDS], after[FRAME_IDS];
  int32_t second_type; /* of the tokens from the second text on; the others are 0 */
};

/* What becomes of the numbers that an encoder of texts makes of one. All zero: the engine generates. */
struct engine_encoder {
  uint8_t task;      /* enum encoder_task */
  uint8_t normalize; /* TASK_EMBED: to a length of 1 */
  uint8_t label_act; /* TASK_CLASSIFY: enum label_act */
  uint8_t measure;   /* TASK_EMBED: enum vector_measure, by which vectors are compared */
  int32_t n_label;
  int32_t n_prompt, usual_prompt;     /* texts put before others, by name; which of them, from 1 on, requests have that
                                         name none, 0: none */
  struct text_frame one, two;         /* of a text, of a pair of them */
  char labels[ENCODER_LABEL_BYTES];   /* their names, each with a zero byte */
  char prompts[ENCODER_PROMPT_BYTES]; /* the name and the text of each, with a zero byte each */
  uint8_t
      pair_form; /* TASK_CLASSIFY: enum pair_form of text/pair_text.h: the chat template joins two texts, or a frame */
  uint8_t generation_prompt; /* 1: it is asked for the beginning of an answer */
  uint8_t without_prompt;    /* 1: a vector is of a text's tokens behind those of its prompt */
  uint8_t reserved[1];
};

/* The text of the prompt of a name; without a name that of requests that name none, "" where there is none. NULL: there
 * is none of that name. */
const char *encoder_prompt(const struct engine_encoder *encoder, const char *name);

/* Tokens of the longest text, as far as that is known before the network: one with fewer positions has as many. */
int engine_config_length(const struct engine_config *config);

/* Replaces zeros by defaults, then checks the fields against each other and against the longest sequence the model was
 * made for. Each sentence names the option, what was given, what is possible and what to change. */
bool engine_config_complete(struct engine_config *config, int max_position, struct error *error);

/* Puts what an opening chooses in place of what the build did. What was not chosen follows: opt_batch_size is no more
 * than max_batch_size, max_num_tokens no less. Checked as above. */
bool engine_config_limit(struct engine_config *config, const struct step_limits *chosen, int max_position,
                         struct error *error);

/* "PAGED", "CONTIGUOUS"; "FP32", "INT8_WEIGHT", …; "AS_FILE"; "RTN", "AWQ", … Parsing accepts NULL as the default. */
const char *kv_cache_type_name(int type);
const char *quant_mode_name(int mode);
const char *quant_method_name(int method);
bool kv_cache_type_parse(const char *name, uint8_t *type, struct error *error);
bool quant_mode_parse(const char *name, uint8_t *mode, struct error *error);
/* The method that an algorithm's name means, and the mode where it names one and *mode leaves it open (AS_FILE). */
bool quant_algo_parse(const char *name, uint8_t *mode, uint8_t *method, struct error *error);

#endif
