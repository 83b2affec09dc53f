/* How long a GPU takes for the attention of DeepSeek's networks: of layers of latent attention alone (one key of 64 +
 * 512 numbers a token, fp16) and of the heads' own linears before and after it (128 to 512 and back, bf16), everything
 * random. Steps of so many rows with a token each (decode steps, by their graphs), then a prompt.
 *   bench_latent_gpu [heads 16] [layers 8] [runs 30] [tokens of the prompt 2048]
 * 16 heads are V2-Lite's, 128 V3's. Times are of a layer, medians, launches included. The floor is the more of two:
 * bytes of the cache, or of the weights and of tokens in and out, at the rate of reads; operations at the rate of the
 * matrix units; both measured first. */
#include "backend/backends.h"
#include "bench_step.h"
#include "plan/plan_builder.h"

#include <math.h>

enum {
  VOCAB = 64,
  HIDDEN = 64,
  STILL = 128,
  ROPE = 64,
  RANK = 512,
  KEY = ROPE + RANK,
  PLAN_BYTES = 1 << 20,
  CONTEXT = 8192,
  SEATS = 64,
  BLOCK = 64,
  BLOCKS = CONTEXT / BLOCK + 1, /* of a row */
  WARM = 4
};

struct bench {
  const struct backend *backend;
  struct device *device;
  int heads, layers, runs, prompt;
  bool linears; /* what the plan has: them, or attention */
  struct buffer block;
  const struct plan *plan;
  uint32_t table[SEATS][BLOCKS];
  struct bench_steps steps;
};

/* --- the plan ------------------------------------------------------------------------------------------------------
 */

static int embedded_add(struct plan_builder *b, const char *name, int cols) {
  struct op op = op_make(OP_EMBED, -1);
  op.out = plan_add_value(b, cols, ROWS_TOKENS);
  op.weight[0] = plan_add_matrix(b, name, &name, &(int){VOCAB}, 1, cols, false);
  op.args.embed.scale = 1 / 0.02f; /* random weights have this deviation */
  plan_add_op(b, &op);
  return op.out;
}

static void linear_add(struct plan_builder *b, const struct bench *bench, const char *name, int in, int out, int rows,
                       int cols) {
  const struct expert_spec spec = {.use = WEIGHT_MATRIX, .n_expert = bench->heads, .n_part = 1, .cols = cols};
  struct op op = op_make(OP_LINEAR, 0);
  op.in[0] = in, op.out = out;
  op.weight[0] = plan_add_experts(b, name, &(struct tensor_slice){.tensor = "{e}", .rows = rows}, &spec);
  op.args.linear.expert_mode = EXPERTS_EACH;
  plan_add_op(b, &op);
}

static void attention_add(struct plan_builder *b, const struct bench *bench) {
  float frequency[ROPE / 2];
  for (int i = 0; i < ROPE / 2; i++) frequency[i] = (float)pow(10000, -2.0 * i / ROPE);
  struct op op = op_make(OP_ATTEND, 0);
  op.in[0] = embedded_add(b, "qkv", (bench->heads + 1) * KEY);
  op.out = plan_add_value(b, bench->heads * RANK, ROWS_TOKENS);
  op.args.attend = (struct attend_args){.n_head = bench->heads,
                                        .n_kv_head = 1,
                                        .dim_k = KEY,
                                        .dim_v = RANK,
                                        .rope_style = ROPE_PAIRS,
                                        .rope_dim = ROPE,
                                        .rope_freq = plan_add_floats(b, frequency, ROPE / 2),
                                        .rope_scale = 1,
                                        .scale = 0.07f,
                                        .value_in_key = 1};
  plan_add_group(
      b, (struct kv_group){.n_layer = bench->layers, .n_head = 1, .dim_k = KEY, .dim_v = RANK, .value_in_key = 1});
  for (int i = 0; i < bench->layers; i++) op.args.attend.layer = i, plan_add_op(b, &op);
}

static void linears_add(struct plan_builder *b, const struct bench *bench) {
  int still = embedded_add(b, "still", bench->heads * STILL);
  int mixed = plan_add_value(b, bench->heads * RANK, ROWS_TOKENS);
  for (int i = 0; i < bench->layers; i++) {
    linear_add(b, bench, "k_b", still, mixed, RANK, STILL);
    linear_add(b, bench, "v_b", mixed, still, STILL, RANK);
  }
}

static void plan_make(struct bench *b) {
  struct plan_builder builder;
  struct error error;
  buffer_init(&b->block, PLAN_BYTES);
  plan_builder_init(&builder, PLAN_DECODER);
  builder.head.vocab = VOCAB, builder.head.hidden = HIDDEN, builder.head.max_position = CONTEXT + BENCH_TOKENS;
  struct op select = op_make(OP_SELECT, -1), head = op_make(OP_LINEAR, -1), sample = op_make(OP_SAMPLE, -1);
  select.in[0] = embedded_add(&builder, "x", HIDDEN);
  (b->linears ? linears_add : attention_add)(&builder, b);
  select.out = head.in[0] = plan_add_value(&builder, HIDDEN, ROWS_OUTPUTS);
  head.weight[0] = plan_add_matrix(&builder, "head", &(const char *){"head"}, &(int){VOCAB}, 1, HIDDEN, false);
  head.out = sample.in[0] = plan_add_value(&builder, VOCAB, ROWS_OUTPUTS);
  plan_add_op(&builder, &select);
  plan_add_op(&builder, &head);
  plan_add_op(&builder, &sample);
  if (!plan_finish(&builder, &b->block, &error)) die(&error);
  plan_builder_release(&builder);
  struct plan *plan = (struct plan *)(void *)b->block.data;
  struct weight *weight = (struct weight *)(void *)((char *)plan + plan->weights);
  for (int i = 0; i < plan->n_weight; i++) weight[i].scheme.kind = SCHEME_BF16;
  if (!plan_check(buffer_slice(&b->block), &error)) die(&error);
  b->plan = plan;
}

static void program_make(struct bench *b) {
  struct error error;
  plan_make(b);
  const struct limits limits = {.seats = SEATS,
                                .tokens = b->prompt,
                                .outputs = SEATS,
                                .length = CONTEXT + BLOCK,
                                .opt_batch = SEATS,
                                .block_size = BLOCK,
                                .kv_dtype = KV_F16,
                                .n_block = {b->linears ? 0 : SEATS * BLOCKS}};
  for (int i = 0; i < b->plan->n_op; i++)
    if (!b->backend->supports(b->plan, i, &error)) die(&error);
  b->steps.program = b->backend->compile(b->device, b->plan, &limits, &error);
  if (!b->steps.program) die(&error);
  for (int i = 0; i < b->plan->n_weight; i++)
    if (!b->backend->load_random(b->steps.program, i, &error)) die(&error);
  if (!b->linears && !b->backend->fill_cache(b->steps.program, &error)) die(&error);
}

/* --- steps ---------------------------------------------------------------------------------------------------------
 */

/* Blocks of a row lie apart. */
static void batch_make(struct bench *b, int n, int context, bool decode) {
  steps_fill(&b->steps, n, decode, decode ? context - 1 : 0, VOCAB);
  for (int i = 0; !b->linears && i < b->steps.batch.n_row; i++) {
    for (int k = 0; k < BLOCKS; k++) b->table[i][k] = (uint32_t)(k * SEATS + (i + k * 5) % SEATS);
    b->steps.row[i].n_block[0] = BLOCKS, b->steps.row[i].block[0] = b->table[i];
  }
}

/* keys: of all tokens that attend together; tokens: that are read. */
static void size_run(struct bench *b, const struct machine_rates *rates, const char *what, double keys, double tokens,
                     int runs) {
  double rows = 2.0 * b->steps.batch.n_token * b->heads * (STILL + RANK) * sizeof(float); /* of linears, in and out */
  double bytes = b->linears ? 2.0 * 2 * b->heads * STILL * RANK + rows : tokens * KEY * 2;
  double operations =
      b->linears ? 2.0 * 2 * b->steps.batch.n_token * b->heads * STILL * RANK : 2.0 * keys * b->heads * (KEY + RANK);
  double read = bytes / (rates->read[rates->n_size - 1].gbs * 1e9), made = operations / (rates->linear_gflops * 1e9);
  double layer = step_seconds(&b->steps, runs) / b->layers, least = read > made ? read : made;
  printf("| %s | %.1f | %.2f | %.2f | %.1f %% |\n", what, layer * 1e6, read * 1e6, made * 1e6, 100 * least / layer);
  fflush(stdout);
}

static void sizes_run(struct bench *b, const struct machine_rates *rates) {
  static const int rows[] = {1, 8, 64}, contexts[] = {1024, CONTEXT};
  char what[80];
  program_make(b);
  for (int c = 0; c < (b->linears ? 1 : 2); c++)
    for (int i = 0; i < 3; i++) {
      batch_make(b, rows[i], contexts[c], true);
      snprintf(what, sizeof what, b->linears ? "linears, decode of %d" : "decode of %d at %d", rows[i], contexts[c]);
      double keys = (double)rows[i] * contexts[c];
      size_run(b, rates, what, keys, keys, b->runs);
    }
  batch_make(b, b->prompt, 0, false);
  snprintf(what, sizeof what, b->linears ? "linears, a prompt of %d" : "a prompt of %d", b->prompt);
  size_run(b, rates, what, 0.5 * b->prompt * b->prompt, b->prompt, b->runs / 4 + 1);
  b->backend->release(b->steps.program);
  buffer_release(&b->block);
}

int main(int argc, char **argv) {
  static struct bench b;
  struct machine_rates rates;
  struct error error;
  b.heads = number_of(argc, argv, 1, 16), b.layers = number_of(argc, argv, 2, 8);
  b.runs = number_of(argc, argv, 3, 30), b.prompt = number_of(argc, argv, 4, 2048);
  if (b.heads < 1 || b.layers < 1 || b.runs < 1 || b.runs > BENCH_RUNS || b.prompt < SEATS || b.prompt > BENCH_TOKENS) {
    printf("usage: bench_latent_gpu [heads 16] [layers 8] [runs 30] [tokens of the prompt 2048, 64 to 8192]\n");
    return 2;
  }
  b.backend = b.steps.backend = backend_find("cuda");
  b.device = b.backend->open(&(struct device_options){0}, &error);
  if (!b.device || !b.backend->rates(b.device, &rates, &error)) die(&error);
  printf("%s\n%d heads, a layer of %d:\n", b.backend->describe(b.device), b.heads, b.layers);
  printf("| a step | µs a layer | by bytes | by operations | floor |\n|---|---|---|---|---|\n");
  for (int i = 0; i < 2; i++) b.linears = i > 0, sizes_run(&b, &rates);
  b.backend->close(b.device);
  return 0;
}
