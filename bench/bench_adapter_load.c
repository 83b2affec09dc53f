/* How long an adapter takes from its file, which the page cache has, into a program's slot: reading it (what the store
 * keeps in the host's memory), and placing it.
 *   bench_adapter_load [network llama-3.1-8b] [rank 16] [rounds 11] [bf16|fp16|fp32] [threads 1] [backend cpu]
 * A file of random numbers for every linear of the layers is made in a temporary folder and removed afterwards. Its
 * floor is copying the file's bytes twice. */
#include "backend/backends.h"
#include "base/half.h"
#include "engine/adapter_module.h"
#include "engine/adapter_read.h"
#include "model/family.h"
#include "model/known_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS_MOST = 200, PLAN_BYTES = 256 << 20, HEADER_BYTES = 16 << 20 };

static _Noreturn void die(const char *text) {
  printf("%s\n", text);
  exit(1);
}

struct bench {
  struct engine_file engine;
  struct engine_facts facts;
  struct engine_header header;
  struct buffer plan;
  const struct backend *backend;
  const char *type; /* of safetensors */
  int rank;
  size_t bytes; /* of all tensors */
  char folder[64];
};

static void plan_make(struct bench *b, const char *network) {
  struct error error;
  struct checkpoint *checkpoint = known_model_open(network, &error);
  buffer_init(&b->plan, PLAN_BYTES);
  const struct family *family = checkpoint ? family_find(checkpoint, &error) : NULL;
  if (!family || !family_outline(family, checkpoint, 0, &b->plan, &error)) die(error.text);
  checkpoint_close(checkpoint);
  struct plan *plan = (struct plan *)(void *)b->plan.data;
  struct weight *weights = (struct weight *)(void *)((char *)plan + plan->weights);
  for (int i = 0; i < plan->n_weight; i++) weights[i].scheme.kind = SCHEME_BF16;
  b->engine = (struct engine_file){
      .header = &b->header, .facts = &b->facts, .plan = (const void *)b->plan.data, .backend = b->backend};
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

static size_t number_bytes(const struct bench *b) { return strcmp(b->type, "F32") == 0 ? 4 : 2; }

static void tensor_name(struct bench *b, struct buffer *header, const char *module, const char *half, int rows,
                        int cols) {
  size_t bytes = (size_t)rows * (size_t)cols * number_bytes(b);
  buffer_print(header,
               "%s\"base_model.model.%s.%s.weight\":{\"dtype\":\"%s\",\"shape\":[%d,%d],\"data_offsets\":[%zu,%zu]}",
               b->bytes ? "," : "{", module, half, b->type, rows, cols, b->bytes, b->bytes + bytes);
  b->bytes += bytes;
}

static void header_make(struct bench *b, struct buffer *header) {
  const struct plan *plan = b->engine.plan;
  for (int i = 0; i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind != OP_LINEAR || op->layer < 0) continue;
    const struct weight *weight = plan_weights(plan) + op->weight[0];
    for (int p = 0; p < weight->n_part; p++) {
      struct adapter_module module;
      if (!adapter_module_of(plan, op, p, "", false, &module)) continue;
      tensor_name(b, header, module.name, "lora_A", b->rank, weight->cols);
      tensor_name(b, header, module.name, "lora_B", weight->part[p].rows, b->rank);
    }
  }
  buffer_print(header, "}");
  while (header->size % 8) buffer_print(header, " ");
}

static void numbers_write(const struct bench *b, FILE *file) {
  uint64_t seed = 1;
  for (size_t at = 0; at < b->bytes; at += number_bytes(b)) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    float number = 0.05f * ((float)(seed >> 40) * 0x1p-23f - 1);
    uint16_t narrow = strcmp(b->type, "F16") == 0 ? half_from_float(number) : bfloat_from_float(number);
    fwrite(number_bytes(b) == 4 ? (void *)&number : (void *)&narrow, number_bytes(b), 1, file);
  }
}

static FILE *file_make(const struct bench *b, const char *name) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", b->folder, name);
  FILE *file = fopen(path, "wb");
  if (!file) die("A file of the adapter cannot be written.");
  return file;
}

static void adapter_make(struct bench *b) {
  struct buffer header;
  buffer_init(&header, HEADER_BYTES);
  snprintf(b->folder, sizeof b->folder, "/tmp/bench_adapter_XXXXXX");
  if (!mkdtemp(b->folder)) die("There is no temporary folder.");
  header_make(b, &header);
  FILE *file = file_make(b, "adapter_config.json");
  fprintf(file, "{\"peft_type\":\"LORA\",\"r\":%d,\"lora_alpha\":%d}", b->rank, 3 * b->rank);
  fclose(file);
  file = file_make(b, "adapter_model.safetensors");
  uint64_t size = header.size;
  fwrite(&size, sizeof size, 1, file);
  fwrite(header.data, 1, header.size, file);
  numbers_write(b, file);
  if (fclose(file) != 0) die("The adapter cannot be written: is there room in /tmp?");
  buffer_release(&header);
}

static void adapter_remove(const struct bench *b) {
  static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors"};
  char path[128];
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", b->folder, names[i]);
    unlink(path);
  }
  rmdir(b->folder);
}

/* --- timing ------------------------------------------------------------------------------------------------------- */

static int double_compare(const void *a, const void *b) {
  const double *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

static double median_of(double *values, int n) {
  qsort(values, (size_t)n, sizeof *values, double_compare);
  return values[n / 2];
}

/* Of this thread's processor, so that a busy machine disturbs less, but where a device is waited for. Threads that read
 * have as much to do each, so that this one's share is how long they take beside each other. */
static double milliseconds_now(const struct bench *b) {
  struct timespec used;
  clock_gettime(b->backend == &backend_cpu ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &used);
  return 1e3 * (double)used.tv_sec + 1e-6 * (double)used.tv_nsec;
}

static double copy_twice(const struct bench *b) {
  size_t bytes = b->bytes;
  char *memory[3];
  for (int i = 0; i < 3; i++) {
    if (!(memory[i] = malloc(bytes + 1))) die("There is no memory.");
    memset(memory[i], i, bytes);
  }
  double start = milliseconds_now(b);
  for (int i = 0; i < 2; i++) {
    memcpy(memory[i + 1], memory[i], bytes);
    __asm__ volatile("" : : "r"(memory[i + 1]) : "memory");
  }
  double milliseconds = milliseconds_now(b) - start;
  for (int i = 0; i < 3; i++) free(memory[i]);
  return milliseconds;
}

static struct program *program_make(const struct bench *b, struct device *device) {
  struct error error;
  struct limits limits = {.seats = 1,
                          .tokens = 1,
                          .outputs = 1,
                          .length = 16,
                          .opt_batch = 1,
                          .block_size = 16,
                          .kv_dtype = KV_F16,
                          .adapters = 2,
                          .adapter_rank = b->rank};
  for (int g = 0; g < b->engine.plan->n_group; g++) limits.n_block[g] = 1;
  struct program *program = device ? b->backend->compile(device, b->engine.plan, &limits, &error) : NULL;
  if (!program) die("The network cannot be compiled.");
  return program;
}

static void rounds_run(struct bench *b, struct program *program, int rounds) {
  static double read[ROUNDS_MOST], place[ROUNDS_MOST], all[ROUNDS_MOST], copy[ROUNDS_MOST];
  struct error error;
  for (int i = 0; i < rounds; i++) {
    copy[i] = copy_twice(b);
    double start = milliseconds_now(b);
    struct adapter *adapter = adapter_read(b->folder, &b->engine, b->rank, &error);
    double middle = milliseconds_now(b);
    if (!adapter || !b->backend->adapter_load(program, i % 2, adapter, &error)) die(error.text);
    double end = milliseconds_now(b);
    adapter_free(adapter);
    read[i] = middle - start;
    place[i] = end - middle;
    all[i] = end - start;
  }
  double both = median_of(all, rounds);
  printf("%.1f MB of %s, rank %d: read %.1f ms, placed %.1f ms, both %.1f (least %.1f) ms; copying the bytes twice "
         "%.1f ms\n",
         (double)b->bytes * 1e-6, b->type, b->rank, median_of(read, rounds), median_of(place, rounds), both, all[0],
         median_of(copy, rounds));
}

int main(int argc, char **argv) {
  struct bench b = {.rank = argc > 2 ? atoi(argv[2]) : 16};
  struct error error;
  const char *type = argc > 4 ? argv[4] : "bf16";
  int rounds = argc > 3 ? atoi(argv[3]) : 11;
  b.type = strcmp(type, "fp32") == 0 ? "F32" : strcmp(type, "fp16") == 0 ? "F16" : "BF16";
  b.backend = backend_find(argc > 6 ? argv[6] : "cpu");
  if (b.rank < 1 || rounds < 1 || rounds > ROUNDS_MOST || !b.backend) return 2;
  if (b.backend->present && !b.backend->present(&error)) return printf("SKIPPED: %s\n", error.text), 77;
  plan_make(&b, argc > 1 ? argv[1] : "llama-3.1-8b");
  struct device *device = b.backend->open(&(struct device_options){.n_thread = argc > 5 ? atoi(argv[5]) : 1}, &error);
  struct program *program = program_make(&b, device);
  adapter_make(&b);
  rounds_run(&b, program, rounds);
  adapter_remove(&b);
  b.backend->release(program);
  b.backend->close(device);
  buffer_release(&b.plan);
  return 0;
}
