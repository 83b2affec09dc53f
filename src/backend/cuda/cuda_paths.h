/* Paths: sets of kernels for some compute capabilities each. What a path has of its own is in its table; everything
 * else is kernels that every GPU runs. */
#ifndef SPATE_BACKEND_CUDA_PATHS_H
#define SPATE_BACKEND_CUDA_PATHS_H

#include "backend/cuda/adapter_kernels.h"
#include "backend/cuda/cuda_kernels.h"
#include "backend/cuda/rate_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

struct error;
struct cuda_experts;

struct cuda_path {
  const char *name;   /* for SPATE_ISA and people */
  int least, most;    /* compute capabilities, × 10 */
  bool chained;       /* linears of few tokens can leave their result to the next */
  bool fresh;         /* decode attention makes queries, keys and values itself (struct cuda_attend) */
  bool half_weights;  /* linears of fp16 weights, too, run on the matrix units */
  bool draws_in_room; /* drawing wants room in device memory (struct cuda_sample) */
  bool greatest;      /* linears can leave the greatest alone, and `sample` takes it */
  int few;            /* tokens that linear_few takes at most */
  uint8_t kv_most;    /* of CACHE_F16 and what follows, the last type that attention takes on the matrix units */
  /* As cuda_linear_few; those that are not chained get one linear. */
  void (*linear_few)(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                     cuda_stream stream);
  void (*linear_many)(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream);
  /* As cuda_adapter_few; NULL: adapters have kernels of their own. */
  void (*adapter_few)(const struct cuda_linear *linear, int n, const struct cuda_adapted *adapted,
                      const struct cuda_between *between, int multiprocessors, cuda_stream stream);
  /* As cuda_bytes_few and cuda_linear_bytes; NULL: such linears run in plain kernels. */
  void (*bytes_few)(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                    cuda_stream stream);
  void (*linear_bytes)(const struct cuda_linear *linear, const void *tiles, int multiprocessors, cuda_stream stream);
  /* The greatest exponent of each strip of a bf16 matrix, which its linears want; NULL: they do not. */
  void (*exponents)(const struct cuda_matrix *matrix, int32_t *exponent, cuda_stream stream);
  /* Blocks of decode attention that run on a multiprocessor at once; before the first launch. 0: it cannot run. */
  int (*attend_blocks)(int dim, uint8_t kv);
  void (*attend_store)(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream);
  void (*attend_decode)(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream);
  void (*attend_prefill)(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream);
  int (*sample_chunks)(int vocab);
  bool (*sample_rules)(int vocab);
  bool (*sample_prepare)(int vocab);
  void (*sample)(const struct cuda_sample *sample, int n_out, cuda_stream stream);
  void (*rate_read_bulk)(const void *from, size_t bytes, int blocks, cuda_stream stream); /* or NULL */
  void (*rate_multiply)(enum rate_unit unit, int blocks, int rounds, uint32_t *sink, cuda_stream stream);
  double (*rate_operations)(enum rate_unit unit);
  /* As cuda_coded_few, cuda_linear_coded and what follows; NULL: such linears run in plain kernels. */
  void (*coded_few)(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                    cuda_stream stream);
  void (*linear_coded)(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream);
  void (*coded_many)(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream);
  void (*coded_wide)(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream);
  void (*coded_expand)(const struct cuda_matrix *matrix, void *out, cuda_stream stream);
  /* As cuda_experts_tiles; NULL: linears over experts of many tokens are cuda_experts_many's. */
  void (*experts_tiles)(const struct cuda_experts *experts, cuda_stream stream);
};

/* The best for a compute capability (× 10); `isa`: that one, by name, or an error (NULL: not forced, nor where
 * SPATE_ISA in the environment names a set of the CPU's). `device`: its name, for the sentence. */
const struct cuda_path *cuda_path_choose(const char *isa, int capability, const char *device, struct error *error);

/* portable/ */
enum { PORTABLE_FEW = 64 };
void sm80_linear_few(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                     cuda_stream stream);
void sm80_linear_many(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream);
int sm80_attend_blocks(int dim, uint8_t kv);
void sm80_attend_decode(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream);
void sm80_attend_prefill(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream);
void sm80_rate_multiply(enum rate_unit unit, int blocks, int rounds, uint32_t *sink, cuda_stream stream);
double sm80_rate_operations(enum rate_unit unit);

void sm75_linear_few(const struct cuda_linear *linear, int n, const struct cuda_between *between, int multiprocessors,
                     cuda_stream stream);
void sm75_linear_many(const struct cuda_linear *linear, int multiprocessors, cuda_stream stream);
void sm75_exponents(const struct cuda_matrix *matrix, int32_t *exponent, cuda_stream stream);
int sm75_attend_blocks(int dim, uint8_t kv);
void sm75_attend_decode(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream);
void sm75_attend_prefill(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream);
void sm75_rate_multiply(enum rate_unit unit, int blocks, int rounds, uint32_t *sink, cuda_stream stream);
double sm75_rate_operations(enum rate_unit unit);

/* Of both. */
void portable_attend_store(const struct cuda_attend *attend, const struct cuda_batch *batch, cuda_stream stream);
int portable_sample_chunks(int vocab);
bool portable_sample_rules(int vocab);
bool portable_sample_prepare(int vocab);
void portable_sample(const struct cuda_sample *sample, int n_out, cuda_stream stream);

#ifdef __cplusplus
}
#endif

#endif
