/* What a backend is: it packs weights on the host, compiles a plan once into a program, then runs batches. Nothing else
 * of a device is visible outside src/backend/. */
#ifndef SPATE_PLAN_BACKEND_H
#define SPATE_PLAN_BACKEND_H

#include "base/buffer.h"
#include "plan/adapter.h"
#include "plan/batch.h"
#include "plan/target.h"

struct device;
struct program;

/* What keys and values are rounded to. E4M3 and int8 are codes with one scale for each token's key and one for its
 * value, of each KV head: peak / 448 and peak / 127, and codes x × (448 / peak) and x × (127 / peak), rounded to
 * nearest even; zeros where the peak is KV_PEAK_LEAST or less. */
enum kv_dtype { KV_F32, KV_F16, KV_BF16, KV_E4M3, KV_INT8 };

#define KV_PEAK_LEAST 1e-30f

/* "fp32", "fp16", "bf16", "fp8", "int8"; NULL behind the last. */
const char *kv_dtype_name(int dtype);

struct device_options {
  int n_thread;                 /* 0: as many as affinity and the cgroup quota allow */
  const char *isa;              /* force a kernel set by name; NULL: the best the machine has */
  const char *tactic_cache;     /* file that remembers timed choices for this device; NULL: time anew */
  const struct backend *packer; /* whose packed weights the reference reads; NULL: its own */
};

struct limits {
  int32_t seats;        /* sequences that may have state at once (max_batch_size) */
  int32_t tokens;       /* of one step (max_num_tokens) */
  int32_t outputs;      /* of one step */
  int32_t length;       /* of one sequence (max_seq_len) */
  int32_t opt_batch;    /* decode batch that tactics are timed at (opt_batch_size) */
  int32_t block_size;   /* tokens of a KV block, a power of two */
  uint8_t kv_dtype;     /* enum kv_dtype */
  bool batch_invariant; /* no token's bytes depend on what else a step holds; a backend where they do takes slower ways
                         */
  uint32_t n_block[PLAN_GROUPS];
  int32_t adapters;     /* that may be on the device at once, slots [0, adapters) (max_loras); 0: no row names one */
  int32_t adapter_rank; /* of the largest of them (max_lora_rank) */
  int32_t cpu_experts;  /* layers, of those that have experts the first, whose experts stay in the host's memory
                           (plan/expert_layers.h); 0 where a backend uses the host's for all */
  int32_t pool;         /* rows of the embedding pool, each `hidden` of the plan wide; 0: no token names one */
};

/* Where rows of an embedding pool come from: `rows` of the host, or, where that is NULL, outputs [first, …) of the step
 * that a program of the same device has collected last, whose result is as wide. */
struct pool_source {
  const float *rows;
  struct program *encoder;
  int32_t first;
};

struct footprint {
  uint64_t weights, workspace;    /* bytes; with slots of adapters that are allocated beforehand */
  uint64_t host_weights;          /* bytes of the host's memory beside these: of limits.cpu_experts */
  uint64_t kv_block[PLAN_GROUPS]; /* bytes of one block of each group, all its layers */
};

enum { RATE_SIZES = 8 };

/* What a device can do at most, measured: the floors that benches print beside their figures. 0: it has no such
 * instruction. */
struct machine_rates {
  int n_size;
  struct {
    uint64_t bytes;                                        /* working set of all threads together */
    double gbs;                                            /* 10⁹ bytes read per second */
  } read[RATE_SIZES];                                      /* ascending */
  double int8_gops, bf16_gflops, fp16_gflops, fp32_gflops; /* 10⁹ operations; a multiply-add is two */
  double linear_gflops;                                    /* that of them at which linears of float weights can run */
  double copy_gbs;                                         /* bytes read and written */
  double link_gbs;                                         /* from the host's pinned memory to the device's */
  double launch_gap_us, graph_gap_us;                      /* between the end of a kernel and the start of the next */
};

struct backend {
  const char *name;
  enum target_kind target; /* whose packed layout it reads */
  int run_ahead;           /* steps that may be submitted before the results of the first are collected */
  int pack_rows;           /* weights are packed in strips of this many rows */
  int step_tile;           /* tokens that it takes together: a step costs as much as its next multiple; 0: one by one */

  /* Is there a device of this kind that can be used? ERROR_NOT_FOUND: there is none. NULL: always. */
  bool (*present)(struct error *error);
  /* NULL on failure. One device may compile several programs. */
  struct device *(*open)(const struct device_options *options, struct error *error);
  void (*close)(struct device *device);
  /* Bytes of its own memory that a program may still take. NULL: it uses the host's. */
  bool (*memory)(const struct device *device, uint64_t *bytes, struct error *error);
  /* One line for people: kernel set, threads. Valid while the device is. */
  const char *(*describe)(const struct device *device);
  /* The name of its kernel set: of two devices with the same one, sums round alike. NULL: there is one. */
  const char *(*kernels)(const struct device *device);

  /* The type of keys and values that attention is fastest with, in blocks of so many tokens: a 16-bit one where they
   * are kept from step to step, maybe a wider one for those of attentions without a group. NULL: fp16. */
  uint8_t (*kv_best)(const struct device *device, int32_t block_size, bool kept);

  /* Tokens of a step of whole texts beyond which it gains nothing: what lies between two ops would no longer stay near.
   * NULL: the more, the better. */
  int32_t (*text_tokens)(const struct device *device);

  /* Can op i of the plan run, with the schemes of its weights? The sentence says which part cannot. Needs no device. */
  bool (*supports)(const struct plan *plan, int op, struct error *error);
  /* Do linears of the scheme run in another arithmetic than its own? NULL: none does. */
  bool (*emulates)(const struct scheme *scheme);
  /* Makes of an integer scheme, as CPUs want it, what it runs faster; exact: one that holds the same codes. NULL: there
   * is none. */
  void (*prefer)(struct scheme *scheme, bool exact);
  /* Measures for a second or two on all threads of the device. NULL: cannot. */
  bool (*rates)(struct device *device, struct machine_rates *rates, struct error *error);
  /* Appends the names of ops that run on a slower path than the scheme's best, one a line. */
  void (*fallbacks)(const struct device *device, const struct plan *plan, const struct limits *limits,
                    struct buffer *out);

  /* Bytes of a packed matrix (all strips) or vector; packing of one strip of codes->rows ≤ pack_rows rows (fewer only
   * at the end, of experts of each) into out. Host code without a device. Strip i starts at i × strip_bytes. */
  size_t (*strip_bytes)(const struct weight *weight);
  void (*pack)(const struct weight *weight, const struct codes *codes, void *out);
  /* One row of a packed matrix (of experts: of one, whose bytes these are) as its cols numbers. NULL: packed weights
   * are its own business. */
  void (*unpack_row)(const struct weight *weight, struct slice packed, int row, float *out);

  /* Memory, before anything is allocated. */
  bool (*measure)(const struct plan *plan, const struct limits *limits, struct footprint *footprint,
                  struct error *error);

  /* The plan must have passed plan_check and outlive the program. Allocates everything that steps will need. */
  struct program *(*compile)(struct device *device, const struct plan *plan, const struct limits *limits,
                             struct error *error);
  /* Packed bytes of weight i; may keep pointing at them (mapped file), so they must outlive the program. */
  bool (*load)(struct program *program, int weight, struct slice packed, struct error *error);
  /* 10⁹ bytes a second at which the device reads weights that limits.cpu_experts keeps in the host's memory, all of
   * which are loaded; no step is out. NULL: it keeps none. */
  bool (*host_rate)(struct program *program, double *gbs, struct error *error);
  void (*release)(struct program *program);
  /* Puts an adapter of limits.adapter_rank at most into a slot that no row of a submitted step names, in place of the
   * one there; NULL: empties it. After false the slot is empty, or has what it had. The adapter may be freed
   * afterwards. Any one thread, beside steps. NULL: the backend knows no adapters, and limits.adapters must be 0. */
  bool (*adapter_load)(struct program *program, int slot, const struct adapter *adapter, struct error *error);
  bool expert_adapters; /* it takes those that change experts */
  /* Fills rows [first, first + count) of the embedding pool, which no step that is out names. One thread, as for steps.
   * NULL: the backend has no pool, and limits.pool must be 0. */
  bool (*pool_fill)(struct program *program, int32_t first, int32_t count, const struct pool_source *source,
                    struct error *error);
  /* For benches of networks without files. Makes the matrix i of 16-bit floats on the device, of the numbers of
   * backend/random_number.h. NULL: the host makes them. */
  bool (*load_random)(struct program *program, int weight, struct error *error);
  /* Fills the whole KV cache with such numbers. NULL: cannot. */
  bool (*fill_cache)(struct program *program, struct error *error);

  /* No step is out, and what the KV cache holds is needed no more: its memory goes back to the system, and is there
   * again where it is written. NULL: it stays. */
  void (*release_cache)(struct program *program);

  /* As submit, of a plan that does not sample, but for about so many microseconds at most, and then again with the same
   * batch until *done, before finish: the encoder's work between steps of a decoder of the same device, or a step of
   * texts that takes long. Where a step is cut changes no byte. NULL: it cannot be cut. */
  bool (*advance)(struct program *program, const struct batch *batch, double us, bool *done, struct error *error);

  /* Before collect, of a step that may take long after it was submitted: waits until a part of the oldest one has
   * ended. *more: there are parts after it. NULL: steps have none. */
  bool (*await)(struct program *program, bool *more, struct error *error);

  /* A step: submit runs the body, finish the head and sampling (a grammar's masks may arrive between the two; NULL:
   * none), collect waits for the oldest submitted step. One thread calls all three, in that order. */
  bool (*submit)(struct program *program, const struct batch *batch, struct error *error);
  bool (*finish)(struct program *program, const struct masks *masks, struct error *error);
  bool (*collect)(struct program *program, struct result *result, struct error *error);
};

/* Are all rows' logits finite? For callers whose rows are nobody's request. */
bool result_sound(const struct result *result, struct error *error);

/* Packed bytes of a whole weight: of all its experts. */
size_t backend_packed_bytes(const struct backend *backend, const struct weight *weight);

/* Whether a program may have a pool of limits->pool rows: it has none, or all that its tokens are embedded to is
 * `hidden` wide. */
bool pool_limits_check(const struct plan *plan, const struct limits *limits, struct error *error);

/* Checks what pool_fill is given: rows within the pool and, of an encoder's, within its n_out outputs of `cols`. */
bool pool_check(const struct plan *plan, const struct limits *limits, int32_t first, int32_t count,
                const struct pool_source *source, int32_t n_out, int32_t cols, struct error *error);

/* Checks a batch against a plan and limits: what every backend may rely on. For callers that take batches from
 * elsewhere (benches, tests); the runtime's own batches hold by construction and are checked in debug builds. */
bool batch_check(const struct batch *batch, const struct plan *plan, const struct limits *limits, struct error *error);

#endif
