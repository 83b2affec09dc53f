/* Hopper's limits as kernels: reads by bulk copies of 16 KiB into a ring of 192 KiB (what linear_few.cu does with
 * weights); products by wgmma of 64 × 256 from shared memory in 128-byte swizzle, two warpgroups a multiprocessor. */
#include "backend/cuda/instructions.cuh"
#include "backend/cuda/rate_numbers.cuh"

namespace {

enum {
  BULK = 16 << 10,
  RING = 12,
  MULTIPLY_THREADS = 256,
  STEPS = 4, /* along K: 64 columns of 16 bits are a swizzled row */
  A_BYTES = 64 * 128,
  B_BYTES = 256 * 128,
  MULTIPLY_SHARED = 2 * A_BYTES + B_BYTES,
};

/* One thread asks for pieces in turn and waits for the oldest; nobody looks at them. */
__global__ void __launch_bounds__(32) read_bulk(const uint8_t *from, size_t n_piece) {
  extern __shared__ __align__(1024) uint8_t ring[];
  uint64_t *full = (uint64_t *)(ring + RING * BULK);
  if (threadIdx.x) return;
  for (int i = 0; i < RING; i++) barrier_init(&full[i], 1);
  barriers_publish();
  uint64_t policy = policy_evict_first();
  int asked = 0, come = 0;
  for (size_t piece = blockIdx.x; piece < n_piece; piece += gridDim.x, asked++) {
    if (asked >= RING) barrier_wait(&full[come % RING], come / RING & 1), come++;
    barrier_expect(&full[asked % RING], BULK);
    bulk_copy(ring + asked % RING * BULK, from + piece * BULK, BULK, &full[asked % RING], policy);
  }
  for (; come < asked; come++) barrier_wait(&full[come % RING], come / RING & 1);
}

#define D8(i)  D(i), D(i + 1), D(i + 2), D(i + 3), D(i + 4), D(i + 5), D(i + 6), D(i + 7)
#define D64(i) D8(i), D8(i + 8), D8(i + 16), D8(i + 24), D8(i + 32), D8(i + 40), D8(i + 48), D8(i + 56)
#define NAMES                                                                                                          \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,"    \
  "%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,"   \
  "%58,%59,%60,%61,%62,%63,%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,"   \
  "%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,"    \
  "%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127}"
#define WGMMA(form, rest)                                                                                              \
  asm volatile("wgmma.mma_async.sync.aligned." form " " NAMES ", %128, %129, 1" rest ";"                               \
               : D64(0), D64(64)                                                                                       \
               : "l"(a), "l"(b))

template <int UNIT> struct sums;
template <> struct sums<RATE_BF16> {
  float d[128];
  __device__ __forceinline__ void multiply(uint64_t a, uint64_t b) {
#define D(i) "+f"(d[i])
    WGMMA("m64n256k16.f32.bf16.bf16", ", 1, 1, 0, 0");
  }
};
template <> struct sums<RATE_FP16> {
  float d[128];
  __device__ __forceinline__ void multiply(uint64_t a, uint64_t b) { WGMMA("m64n256k16.f32.f16.f16", ", 1, 1, 0, 0"); }
};
#undef D
template <> struct sums<RATE_INT8> {
  int d[128];
  __device__ __forceinline__ void multiply(uint64_t a, uint64_t b) {
#define D(i) "+r"(d[i])
    WGMMA("m64n256k32.s32.s8.s8", "");
#undef D
  }
};

template <int UNIT> __global__ void __launch_bounds__(MULTIPLY_THREADS, 1) multiply(int rounds, uint32_t *sink) {
  extern __shared__ __align__(1024) uint8_t shared[];
  for (int i = threadIdx.x; i < MULTIPLY_SHARED / 4; i += MULTIPLY_THREADS) ((uint32_t *)shared)[i] = numbers(i);
  shared_writes_publish();
  __syncthreads();
  uint64_t a = rows_operand(shared_address(shared + threadIdx.x / 128 * A_BYTES));
  uint64_t b = rows_operand(shared_address(shared + 2 * A_BYTES));
  sums<UNIT> sum = {};
  for (int round = 0; round < rounds; round++) {
    products_begin();
#pragma unroll
    for (int k = 0; k < STEPS; k++) sum.multiply(a + 2 * k, b + 2 * k); /* 32 bytes on */
    products_group();
    products_wait<1>();
  }
  products_wait<0>();
  float all = 0;
#pragma unroll
  for (int i = 0; i < 128; i++) all += (float)sum.d[i];
  if (all == 0.123f) *sink = 1; /* keeps the sums */
}

template <int UNIT> void multiply_launch(int blocks, int rounds, uint32_t *sink, cuda_stream stream) {
  cudaFuncSetAttribute(multiply<UNIT>, cudaFuncAttributeMaxDynamicSharedMemorySize, MULTIPLY_SHARED);
  multiply<UNIT><<<blocks, MULTIPLY_THREADS, MULTIPLY_SHARED, stream>>>(rounds, sink);
}

} // namespace

void rate_read_bulk(const void *from, size_t bytes, int blocks, cuda_stream stream) {
  int shared = RING * BULK + RING * 8;
  cudaFuncSetAttribute(read_bulk, cudaFuncAttributeMaxDynamicSharedMemorySize, shared);
  read_bulk<<<blocks, 32, shared, stream>>>((const uint8_t *)from, bytes / BULK);
}

void rate_multiply(enum rate_unit unit, int blocks, int rounds, uint32_t *sink, cuda_stream stream) {
  switch (unit) {
  case RATE_BF16: multiply_launch<RATE_BF16>(blocks, rounds, sink, stream); break;
  case RATE_FP16: multiply_launch<RATE_FP16>(blocks, rounds, sink, stream); break;
  case RATE_INT8: multiply_launch<RATE_INT8>(blocks, rounds, sink, stream); break;
  default: rate_multiply_fp32(blocks, rounds, sink, stream); break;
  }
}

double rate_operations(enum rate_unit unit) {
  double float16 = 2.0 * 2 * 64 * 256 * 64; /* two warpgroups, 64 columns */
  return unit == RATE_INT8 ? 2 * float16 : unit == RATE_FP32 ? rate_operations_fp32() : float16;
}
