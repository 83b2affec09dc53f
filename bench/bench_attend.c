/* The lab bench of CPU attention: one layer's KV head against its query heads, one token (a decode step; GB/s of keys
 * and values, found in memory) and a block of them (a prefill; GFLOP/s), at several lengths.
 *   bench_attend [block size [KV type [latent]]]     SPATE_ISA chooses the kernel set; latent: DeepSeek's heads
 * Times are of the thread's processor, the best of many passes, so that a busy machine disturbs less. */
#include "backend/cpu/cpu_kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { TOKENS_MOST = 16, QUERIES_MOST = 128, DIM_MOST = 576, PASSES = 40 };
static const size_t KV_BYTES = (size_t)128 << 20;

struct job {
  const struct kernel_set *set;
  struct kv_layout layout;
  uint8_t *data;
  int n_block; /* in all; each sequence has its own, in a scattered order */
  uint32_t *block;
  struct attend_work work;
};

static double thread_seconds(void) {
  struct timespec used;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

/* Every sequence that fits, layer by layer, as steps go over them; seconds of one head. */
static double pass_seconds(struct job *job, int length) {
  int n_seq = job->n_block / (length / job->layout.block_size);
  double begin = thread_seconds();
  for (int s = 0; s < n_seq; s++)
    for (int i = 0; i < job->layout.n_layer * job->layout.n_head; i++) {
      job->work.kv = (struct kv_head){.layout = &job->layout,
                                      .data = job->data + (size_t)i * job->layout.head_bytes,
                                      .block = job->block + s * (length / job->layout.block_size)};
      job->set->attend.attend(&job->work);
    }
  return (thread_seconds() - begin) / (n_seq * job->layout.n_layer * job->layout.n_head);
}

static void shape_bench(struct job *job, int n_token, int n_head) {
  int32_t first[TOKENS_MOST] = {0}, last[TOKENS_MOST];
  job->work.n_token = n_token, job->work.n_head = n_head;
  job->work.first = first, job->work.last = last;
  printf("%2d x %d heads", n_token, n_head);
  for (int length = 256; length <= 4096; length *= 4) {
    for (int t = 0; t < n_token; t++) last[t] = length - n_token + t;
    double best = 1e9;
    for (int i = 0; i < PASSES; i++) {
      double seconds = pass_seconds(job, length);
      best = seconds < best ? seconds : best;
    }
    const struct kv_layout *l = &job->layout;
    double bytes = (double)length * (l->dim_k + (l->value_in_key ? 0 : l->dim_v)) * (double)l->element;
    double flops = 2.0 * length * (l->dim_k + l->dim_v) * n_head * n_token;
    printf(" | %5d: %8.2f us %6.1f GB/s %6.1f GFLOP/s", length, 1e6 * best, 1e-9 * bytes / best, 1e-9 * flops / best);
  }
  printf("\n");
  fflush(stdout);
}

static void blocks_scatter(struct job *job) {
  job->block = calloc((size_t)job->n_block, sizeof *job->block);
  uint32_t random = 1;
  for (int i = 0; i < job->n_block; i++) {
    random = random * 1664525 + 1013904223;
    int other = (int)(random >> 8) % (i + 1);
    job->block[i] = job->block[other];
    job->block[other] = (uint32_t)i;
  }
}

int main(int argc, char **argv) {
  struct error error;
  struct job job = {.set = kernel_set_choose(NULL, &error)};
  if (!job.set) return fprintf(stderr, "%s\n", error.text), 1;
  bool latent = argc > 3 && strcmp(argv[3], "latent") == 0;
  struct kv_group group = {.n_layer = 30, .n_head = 3, .dim_k = 64, .dim_v = 64};
  if (latent) group = (struct kv_group){.n_layer = 27, .n_head = 1, .dim_k = DIM_MOST, .dim_v = 512, .value_in_key = 1};
  struct limits limits = {.block_size = argc > 1 ? atoi(argv[1]) : 16, .kv_dtype = KV_F16};
  for (uint8_t i = 0; argc > 2 && kv_dtype_name(i); i++)
    if (strcmp(argv[2], kv_dtype_name(i)) == 0) limits.kv_dtype = i;
  job.layout = kv_layout_of(&group, &limits, job.set->attend.quads);
  job.n_block = (int)(KV_BYTES / job.layout.block_bytes);
  size_t bytes = (size_t)job.n_block * job.layout.block_bytes;
  job.data = aligned_alloc(2 << 20, (bytes + (2 << 20) - 1) / (2 << 20) * (2 << 20));
  madvise(job.data, bytes, MADV_HUGEPAGE);
  memset(job.data, 0x11, bytes);
  blocks_scatter(&job);
  job.work.query = calloc(QUERIES_MOST * DIM_MOST, sizeof(float));
  float *out = calloc(QUERIES_MOST * DIM_MOST, sizeof *out), *outs[TOKENS_MOST];
  for (int t = 0; t < TOKENS_MOST; t++) outs[t] = out + (size_t)t * (QUERIES_MOST / TOKENS_MOST) * DIM_MOST;
  job.work.out = outs;
  job.work.shared = SHARED_ALL;
  job.work.scratch = aligned_alloc(64, attend_scratch_floats(QUERIES_MOST, DIM_MOST, DIM_MOST) * sizeof(float));
  printf("%s, head of %d, blocks of %d tokens, %s\n", job.set->name, group.dim_k, limits.block_size,
         kv_dtype_name(limits.kv_dtype));
  static const int plain[][2] = {{1, 1}, {1, 3}, {1, 4}, {1, 8}, {16, 3}},
                   latents[][2] = {{1, 8}, {1, 16}, {3, 16}, {1, 128}};
  for (int i = 0; i < (latent ? 4 : 5); i++)
    shape_bench(&job, (latent ? latents : plain)[i][0], (latent ? latents : plain)[i][1]);
  return 0;
}
