/* Machine rates: independent chains of one instruction for the arithmetic units, wide loads for the memory. Functions
 * carry their own target attribute, so that one file holds every instruction set. */
#include "backend/cpu/cpu_rates.h"

#include "backend/cpu/cpu_kernels.h"
#include "base/clock.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

enum { RUNS = 5, CHAINS = 12, ROUNDS = 1 << 17, READ_PASS_BYTES = 256 << 20 };

static _Atomic uint64_t sink; /* keeps results from being optimised away */

/* --- arithmetic: each function runs ROUNDS × CHAINS instructions ---------------------------------------------------
 */

struct unit {
  double operations; /* of one instruction */
  void (*run)(void);
};

/* A loop of CHAINS independent accumulations `a = step(a, x, y)`, kept in registers: the empty asm makes each value
 * unknown to the compiler, so that no step is hoisted or folded. */
#if defined(__x86_64__)
#define IN_REGISTER(value) __asm__ volatile("" : "+v"(value))
#else
#define IN_REGISTER(value) __asm__ volatile("" : "+w"(value))
#endif

#define EACH_CHAIN _Pragma("GCC unroll 12") for (int c = 0; c < CHAINS; c++)

#define CHAIN_LOOP(type, zero, step)                                                                                   \
  type chain[CHAINS];                                                                                                  \
  EACH_CHAIN chain[c] = zero;                                                                                          \
  for (int i = 0; i < ROUNDS; i++) {                                                                                   \
    EACH_CHAIN chain[c] = step;                                                                                        \
    EACH_CHAIN IN_REGISTER(chain[c]);                                                                                  \
  }

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

extern const struct kernel_set kernel_set_amx; /* knows whether this process may use the matrix unit */

__attribute__((target("avx2,fma"))) static void run_fp32_avx2(void) {
  __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(1e-3f);
  CHAIN_LOOP(__m256, y, _mm256_fmadd_ps(chain[c], x, y));
}

/* u8 × s8 pairs to 16 bits, pairs of those to 32: what a dot product costs without VNNI. */
__attribute__((target("avx2"))) static void run_int8_avx2(void) {
  __m256i x = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
  CHAIN_LOOP(__m256i, x, _mm256_add_epi32(chain[c], _mm256_madd_epi16(_mm256_maddubs_epi16(x, chain[c]), ones)));
}

__attribute__((target("avx512f"))) static void run_fp32_avx512(void) {
  __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(1e-3f);
  CHAIN_LOOP(__m512, y, _mm512_fmadd_ps(chain[c], x, y));
}

__attribute__((target("avx512f,avx512vnni"))) static void run_int8_avx512(void) {
  __m512i x = _mm512_set1_epi8(3);
  CHAIN_LOOP(__m512i, x, _mm512_dpbusd_epi32(chain[c], x, x));
}

__attribute__((target("avx512f,avx512bf16"))) static void run_bf16_avx512(void) {
  __m512 zero = _mm512_setzero_ps();
  __m512bh x = (__m512bh)_mm512_set1_epi16(0x3F00);
  CHAIN_LOOP(__m512, zero, _mm512_dpbf16_ps(chain[c], x, x));
}

#define AMX __attribute__((target("amx-tile,amx-int8,amx-bf16")))

/* All registers of the matrix unit of full size; six of them are sums. */
AMX static void amx_configure(void) {
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } config = {.palette = 1};
  for (int i = 0; i < 8; i++) config.row_bytes[i] = 64, config.rows[i] = 16;
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

#define AMX_RUN(name, product)                                                                                         \
  AMX static void name(void) {                                                                                         \
    amx_configure();                                                                                                   \
    for (int i = 0; i < ROUNDS * CHAINS / 6; i++) {                                                                    \
      product(0, 6, 7);                                                                                                \
      product(1, 6, 7);                                                                                                \
      product(2, 6, 7);                                                                                                \
      product(3, 6, 7);                                                                                                \
      product(4, 6, 7);                                                                                                \
      product(5, 6, 7);                                                                                                \
    }                                                                                                                  \
    _tile_release();                                                                                                   \
  }

AMX_RUN(run_int8_amx, _tile_dpbssd)
AMX_RUN(run_bf16_amx, _tile_dpbf16ps)

static bool amx_has_bf16(void) {
  unsigned a, b, c, d;
  return kernel_set_amx.available() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1);
}

static struct unit unit_int8(void) {
  if (kernel_set_amx.available()) return (struct unit){2 * 16 * 16 * 64, run_int8_amx};
  if (__builtin_cpu_supports("avx512vnni")) return (struct unit){128, run_int8_avx512};
  if (__builtin_cpu_supports("avx2")) return (struct unit){64, run_int8_avx2};
  return (struct unit){0};
}

static struct unit unit_fp32(void) {
  if (__builtin_cpu_supports("avx512f")) return (struct unit){32, run_fp32_avx512};
  if (__builtin_cpu_supports("fma")) return (struct unit){16, run_fp32_avx2};
  return (struct unit){0};
}

static struct unit unit_bf16(void) {
  if (amx_has_bf16()) return (struct unit){2 * 16 * 16 * 32, run_bf16_amx};
  if (__builtin_cpu_supports("avx512bf16")) return (struct unit){64, run_bf16_avx512};
  return (struct unit){0};
}

#if __GNUC__ >= 12 && !defined(__clang__) /* clang 14 does not know the type */
__attribute__((target("avx512f,avx512fp16"))) static void run_fp16_avx512(void) {
  __m512h x = (__m512h)_mm512_set1_epi16(0x3BF0), y = (__m512h)_mm512_set1_epi16(0x1400);
  CHAIN_LOOP(__m512h, y, _mm512_fmadd_ph(chain[c], x, y));
}

static struct unit unit_fp16(void) {
  if (__builtin_cpu_supports("avx512fp16")) return (struct unit){64, run_fp16_avx512};
  return (struct unit){0};
}
#else
static struct unit unit_fp16(void) { return (struct unit){0}; }
#endif

#else
typedef float vector4 __attribute__((vector_size(16)));

static void run_fp32_vector(void) {
  vector4 x = {0.999f, 0.999f, 0.999f, 0.999f}, y = {1e-3f, 1e-3f, 1e-3f, 1e-3f};
  CHAIN_LOOP(vector4, y, chain[c] * x + y);
}

static struct unit unit_int8(void) { return (struct unit){0}; }
static struct unit unit_fp32(void) { return (struct unit){8, run_fp32_vector}; }
static struct unit unit_bf16(void) { return (struct unit){0}; }
static struct unit unit_fp16(void) { return (struct unit){0}; }
#endif

static void unit_work(void *context, int worker) {
  (void)worker;
  ((const struct unit *)context)->run();
}

/* 10⁹ operations per second of all workers; 0 for an empty unit. */
static double unit_rate(struct team *team, struct unit unit) {
  double best = 0;
  for (int i = 0; unit.run && i < RUNS; i++) {
    uint64_t start = clock_ns();
    team_run(team, unit_work, &unit);
    double rate = unit.operations * CHAINS * ROUNDS * team_size(team) / (double)(clock_ns() - start);
    if (rate > best) best = rate;
  }
  return best;
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

/* Bytes read in a turn of the loop: sums enough for every load to be under way at once. They are asked for AHEAD_BYTES
 * early, as hardware prefetchers stop at the end of a page. */
enum { TURN_BYTES = 256, AHEAD_BYTES = 2048 };

typedef uint64_t bytes_reader(const uint8_t *bytes, size_t n_turn);

#define READER(name, vector_bytes, target_attribute)                                                                   \
  typedef uint64_t name##_vector __attribute__((vector_size(vector_bytes), may_alias));                                \
  target_attribute static uint64_t name(const uint8_t *bytes, size_t n_turn) {                                         \
    name##_vector sum[TURN_BYTES / vector_bytes] = {0};                                                                \
    for (const uint8_t *end = bytes + n_turn * TURN_BYTES; bytes < end; bytes += TURN_BYTES) {                         \
      _Pragma("GCC unroll 8") for (int i = 0; i < TURN_BYTES; i += LINE_BYTES)                                         \
          __builtin_prefetch(bytes + AHEAD_BYTES + i);                                                                 \
      _Pragma("GCC unroll 16") for (int v = 0; v < TURN_BYTES / vector_bytes; v++) sum[v] ^=                           \
          ((const name##_vector *)bytes)[v];                                                                           \
    }                                                                                                                  \
    uint64_t word[TURN_BYTES / sizeof(uint64_t)], all = 0;                                                             \
    memcpy(word, sum, sizeof word);                                                                                    \
    for (size_t i = 0; i < TURN_BYTES / sizeof *word; i++) all ^= word[i];                                             \
    return all;                                                                                                        \
  }

READER(read_vector16, 16, )
#if defined(__x86_64__)
READER(read_vector32, 32, __attribute__((target("avx2"))))
READER(read_vector64, 64, __attribute__((target("avx512f"))))
#endif

static bytes_reader *reader_widest(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return read_vector64;
  if (__builtin_cpu_supports("avx2")) return read_vector32;
#endif
  return read_vector16;
}

struct read_job {
  struct team *team;
  bytes_reader *read;
  const uint8_t *bytes; /* shared */
  int n_turn;
  int passes;
};

static void read_work(void *context, int worker) {
  const struct read_job *job = context;
  struct range part = team_share(job->team, job->n_turn, worker);
  const uint8_t *bytes = job->bytes + (size_t)part.first * TURN_BYTES;
  for (int pass = 0; pass < job->passes; pass++)
    atomic_fetch_add_explicit(&sink, job->read(bytes, (size_t)part.count), memory_order_relaxed);
}

static double read_rate(struct team *team, const void *memory, size_t bytes) {
  int passes = (int)(READ_PASS_BYTES / bytes);
  struct read_job job = {team, reader_widest(), memory, (int)(bytes / TURN_BYTES), passes ? passes : 1};
  double best = 0;
  for (int i = 0; i < RUNS; i++) {
    uint64_t start = clock_ns();
    team_run(team, read_work, &job);
    double rate = (double)bytes * job.passes / (double)(clock_ns() - start);
    if (rate > best) best = rate;
  }
  return best;
}

bool cpu_rates_measure(struct team *team, struct machine_rates *rates, struct error *error) {
  static const uint64_t sizes[] = {1 << 20, 8 << 20, 32 << 20, 96 << 20, 256 << 20, 512 << 20};
  enum { N_SIZE = sizeof sizes / sizeof *sizes };
  size_t most = sizes[N_SIZE - 1];
  void *memory = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return error_set(error, ERROR_MEMORY, "No %zu MB to measure with.", most >> 20);
  madvise(memory, most, MADV_HUGEPAGE);
  memset(memory, 1, most);
  *rates = (struct machine_rates){.n_size = N_SIZE,
                                  .int8_gops = unit_rate(team, unit_int8()),
                                  .bf16_gflops = unit_rate(team, unit_bf16()),
                                  .fp16_gflops = unit_rate(team, unit_fp16()),
                                  .fp32_gflops = unit_rate(team, unit_fp32())};
  rates->linear_gflops = rates->fp32_gflops;
  for (int i = 0; i < N_SIZE; i++) {
    rates->read[i].bytes = sizes[i];
    rates->read[i].gbs = read_rate(team, memory, sizes[i]);
  }
  munmap(memory, most);
  return true;
}
