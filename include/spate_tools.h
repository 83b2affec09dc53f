/* Spate: what is done with a model before and beside serving: build, inspect, tokenize, bench. Included by spate.h. */
#ifndef SPATE_TOOLS_H
#define SPATE_TOOLS_H

#include "spate.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- build ------------------------------------------------------------------------------------------------------ */

struct spate_build_options {
  size_t size;
  const char *model;      /* a Hugging Face directory or a .gguf */
  const char *output;     /* the engine file; written under a temporary name and renamed */
  const char *quant_mode; /* "FP32", "FP16", "BF16", "INT8_WEIGHT", "INT4_WEIGHT", "FP8", "W8A8", "auto"; NULL: as the
                             file is */
  const char *target;     /* "cpu" (NULL) or "cuda" */
  const char *kv_cache_type; /* "PAGED" or "CONTIGUOUS" */
  int max_batch_size;        /* sequences in a step; 0 for each: a default from the model */
  int opt_batch_size;        /* the batch that kernel choices are timed at */
  int max_input_len;         /* tokens of a prompt */
  int max_seq_len;           /* tokens of a prompt and its answer */
  int max_num_tokens;        /* tokens of a step */
  spate_progress progress;   /* may be NULL */
  void *user;
  const char *quant_algo; /* how integers are found: "RTN" (NULL), "AWQ", "GPTQ", "SMOOTHQUANT"; TensorRT-LLM's "W8A8",
                             "W8A8_SQ_PER_CHANNEL", "W4A16_AWQ", "FP8", ... name a mode too */
  const char *calib_data; /* a text file that all but RTN watch the network read; NULL: a text that comes with Spate */
  const char *eval_text;  /* a file of text: the manifest tells how well the engine predicts it (spate_eval) */
  const char *quant_override; /* modes of single weights: "lm_head=INT8_WEIGHT,*.down_proj=BF16"; the last that matches
                                 a weight's name, or a tensor's that it is joined from, wins */
  bool emulate;               /* FP8 may run as floats where there is no such arithmetic */
  const char *eval_against;   /* and how far it is from this engine file, or the FP32 engine of this model */
  double target_bits;     /* of quant_mode auto, from 2 to 16: what a number of the matrices may take on average, scales
                             and padding included */
  const char *merge_lora; /* a folder with an adapter that becomes part of the weights before they are rounded, and
                             perhaps = and a scale; of spate_build alone */
  bool rerank; /* pairs of texts have a score, by the words yes and no of a decoder that does not say so itself
                  (Qwen3-Reranker) */
};

static inline void spate_build_options_init(spate_build_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

SPATE_API bool spate_build(const spate_build_options *options, spate_error *error);

/* ---- tools ------------------------------------------------------------------------------------------------------ */

/* What is in a model or engine file (tensors, types, sizes, config, tokenizer facts, memory needed), as JSON. Weights
 * are not read. progress may be NULL; its stages are "open", for a model "plan" and "tokenizer", and "describe". */
SPATE_API bool spate_inspect(const char *path, spate_progress progress, void *user, spate_text *json,
                             spate_error *error);

typedef struct {
  size_t size;
  const char *model; /* an engine file, or a model, whose tokenizer is compiled first */
  const char *text;  /* UTF-8; special tokens in it are recognised */
  size_t text_size;
  bool no_special;         /* add no BOS or EOS; otherwise they are added as the tokenizer says */
  spate_progress progress; /* may be NULL; the stages are "open", "tokenizer" and "encode" */
  void *user;
} spate_tokenize_options;

static inline void spate_tokenize_options_init(spate_tokenize_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

/* Token ids of a text as JSON: {"tokens":[{"id":1,"text":"…"},…]}. */
SPATE_API bool spate_tokenize(const spate_tokenize_options *options, spate_text *json, spate_error *error);

typedef struct {
  size_t size;
  int batch;         /* sequences decoded together */
  int prompt_tokens; /* of each sequence */
  int decode_tokens;
  int repeat;       /* medians are over this many runs */
  bool all_outputs; /* prefill computes the logits of every token */
  spate_progress progress;
  void *user;
} spate_bench_options;

static inline void spate_bench_options_init(spate_bench_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
  options->batch = 1;
  options->prompt_tokens = 512;
  options->decode_tokens = 128;
  options->repeat = 3;
}

/* Prefill and decode rates through batches handed in directly, past the scheduler, with the floors that this machine's
 * measured limits set and every op that runs on a slower path; as JSON. The engine must be idle. */
SPATE_API bool spate_bench(spate_engine *engine, const spate_bench_options *options, spate_text *json,
                           spate_error *error);

typedef struct {
  size_t size;
  const char *model;  /* a known network: "llama-3.1-8b"; an unknown name's error lists them */
  const char *device; /* as in spate_open_options */
  const int *batch;   /* [n_batch] sequences decoded together, one bench after the other */
  int n_batch;
  int context;       /* tokens of each sequence in the cache at a decode step */
  int beside;        /* tokens of a prompt with the same context in one more step of each batch; 0: no such step */
  int prompt_tokens; /* of the one sequence that is prefilled in one step; 0: none is */
  int repeat;        /* medians are over so many steps, of prefill at most 5 */
  int threads;
  spate_progress progress;
  void *user;
  bool batch_invariant;       /* as in spate_open_options */
  const char *quant_mode;     /* "BF16", "INT8_WEIGHT", "INT4_WEIGHT", "FP8", "W8A8"; NULL: BF16 */
  const char *kv_cache_dtype; /* as in spate_open_options */
  int cpu_experts;            /* the same */
} spate_random_options;

static inline void spate_random_options_init(spate_random_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
  options->context = 1024;
  options->prompt_tokens = 2048;
  options->repeat = 20;
}

/* Steps of a network with random weights, made where they are used, each beside its floor: the sum over its ops
 * of bytes ÷ read bandwidth or operations ÷ matrix rate, both measured in the same run; with the ops that run on a
 * slower path, and how the first sequence's logits compare between the batches; as JSON. */
SPATE_API bool spate_bench_random(const spate_random_options *options, spate_text *json, spate_error *error);

/* A device's limits: read bandwidth by working-set size, int8, BF16, FP16 and FP32 rates, and of a GPU its copies, its
 * link to the host and the gaps between kernels; as JSON. device: as in spate_open_options. */
SPATE_API bool spate_bench_machine(const char *device, int threads, spate_progress progress, void *user,
                                   spate_text *json, spate_error *error);

typedef struct {
  size_t size;
  const char *text;               /* a file of UTF-8 text to predict; NULL: none */
  int window;                     /* tokens that see each other; 0: 1024 or what the engines allow */
  int max_tokens;                 /* of the text, from its start; 0: all */
  const char *against;            /* compare with this engine file, or the FP32 engine of this model; NULL: with none */
  const spate_open_options *open; /* how it is opened; model, build and max_outputs are ignored; NULL: defaults */
  spate_progress progress;        /* the stage "text" counts tokens, "choices" and "answers" questions */
  void *user;
  const char *task;  /* a file of questions in JSON lines, in the layout of MMLU, ARC or GSM8K; NULL: none */
  const char *shots; /* a file of the same layout, whose questions stand answered before each; NULL: none */
  int max_items;     /* of the task, from its start; 0: all */
  const struct spate_lora *loras; /* adapters that the engine uses, not the one that it is compared with */
  int n_loras;
} spate_eval_options;

static inline void spate_eval_options_init(spate_eval_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

/* What an engine's answers are worth, as JSON: perplexity over a text in windows that do not overlap, each token
 * predicted once, as lm-evaluation-harness does it (loglikelihood_rolling); the divergence from another engine of the
 * same vocabulary on the same tokens; the share of a task's questions that it gets right, by the likelihood of their
 * choices (acc, acc_norm) or by a generated answer (exact_match), with that harness's prompts. The engine must be idle.
 */
SPATE_API bool spate_eval(spate_engine *engine, const spate_eval_options *options, spate_text *json,
                          spate_error *error);

/* Loss against speed and against size, a point for each engine, as SVG: of results of spate_eval with a text, and of
 * spate_quantize_table. */
SPATE_API bool spate_eval_plot(const spate_text *results, size_t count, spate_text *svg, spate_error *error);

typedef struct {
  size_t size;
  const char *model;  /* a Hugging Face directory or a .gguf */
  const char *text;   /* a file of text that losses are measured on */
  int window;         /* as in spate_eval_options */
  int max_tokens;     /* of the text, from its start; 0: all */
  const char *device; /* as in spate_open_options */
  int threads;
  const char *folder; /* in which engines are built, the FP32 one and one other at a time; NULL: $TMPDIR or /tmp */
  int prompt_tokens;  /* of each sequence whose speed is measured */
  int decode_tokens;
  int repeat; /* medians are over so many runs */
  spate_progress progress;
  void *user;
} spate_table_options;

static inline void spate_table_options_init(spate_table_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
  options->prompt_tokens = 128;
  options->decode_tokens = 64;
  options->repeat = 3;
}

/* Builds a model in every quant_mode and measures each: tokens a second at batch 1 and 16, bytes, perplexity, and the
 * divergence from FP32; as JSON. A mode that cannot be measured has a "problem" instead. */
SPATE_API bool spate_quantize_table(const spate_table_options *options, spate_text *json, spate_error *error);

/* Logits of every token of one sequence, through batches of at most chunk tokens (tests, evaluation):
 * out[n_token][vocab_size]. The engine must be idle. */
SPATE_API bool spate_logits(spate_engine *engine, const int32_t *tokens, int n_token, int chunk, float *out,
                            spate_error *error);

#ifdef __cplusplus
}
#endif

#endif
