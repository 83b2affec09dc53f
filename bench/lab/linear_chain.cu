/* Lab: the linears of layers of an 8B network (qkv, o, gate and up, down) back to back, as a step runs them but for
 * attention: norms, conversion, activation, gate and residual included. The floor is the weights' bytes ÷ the read
 * bandwidth, which is measured first. bf16, then int8 and int4 of 1 to 16 tokens, with the numbers of a scheme
 * (coded_few.cu) changed one at a time, and with the products left out; then FP8 and W8A8 (bytes_few.cu,
 * bytes_many.cu), FP8 also without products and without rounding tokens. Arguments: what the names of those wanted
 * begin with.
 *
 *   nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc -o linear_chain bench/lab/linear_chain.cu \
 *     build/cuda/src/backend/libroom_backend.a */
#include "backend/cuda/bytes_few.cu"
#include "backend/cuda/coded_few.cu"
#include "lab.cuh"

enum { LAYERS = 6, TOKENS_MOST = 2048, WIDTH = 4096, QKV = 6144, INNER = 14336 };

__global__ void fill(uint32_t *x, size_t n, uint32_t mask, uint32_t set) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
    uint64_t h = i * 0x9E3779B97F4A7C15ull;
    x[i] = ((uint32_t)(h >> 20) & mask) | set;
  }
}

enum { LAYER_WEIGHTS = WIDTH * (QKV + WIDTH + 3 * INNER) };
enum kind { BF16, INT8, INT4, E4M3 };
static enum kind kind;

static size_t strip_of(int cols) {
  return kind == BF16 ? (size_t)cols * 32 : kind == INT4 ? (size_t)cols / 256 * 2176 : BYTES_HEAD + (size_t)cols * 16;
}

static size_t bytes_of(int rows, int cols) { return rows / 16 * strip_of(cols); }

/* Random codes, and scales that keep results small. */
__global__ void fill_coded(uint32_t *x, size_t n, size_t strip, enum kind kind) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x) {
    size_t at = i * 4 % strip;
    uint64_t h = i * 0x9E3779B97F4A7C15ull;
    h = (h ^ h >> 32) * 0xD6E8FEB86659FD93ull;
    x[i] = (uint32_t)(h >> 32);
    if (kind == INT8 && at < BYTES_HEAD) x[i] = at < 64 ? 0x38000000 : 0; /* 2⁻¹⁵ */
    if (kind == E4M3)
      x[i] = at >= BYTES_HEAD ? x[i] & 0x8f8f8f8f | 0x20202020 : at < 64 ? 0x3d000000 : 0; /* 2⁻³, 2⁻⁵ */
    if (kind == INT4 && at % 1088 >= NIBBLES_CODES) x[i] = 0x9b801000; /* 2⁻¹¹, − 7.5 × that */
  }
}

struct network {
  uint8_t *weights;
  float *hidden, *qkv, *head, *inner, *norm;
  void *fragments[2];
  float *squares[2];
};

static int parity;
static bool ready, fuse = true;          /* inputs left by the linear before; are they? */
static std::vector<cuda_linear> waiting; /* not launched yet */
static struct cuda_between between;
static decltype(&cuda_linear_few) few_run = cuda_linear_few;

/* A scheme with other numbers. */
template <typename S, int STRIPS, int FLIGHT, int BUFFERS = 2> struct numbers : S {
  static constexpr int strips = STRIPS, in_flight = FLIGHT, buffers = BUFFERS;
};

/* Weights that are waited for and not multiplied. */
template <typename S> struct unused : S {
  template <int TILES, typename... ANY>
  static __device__ __forceinline__ void multiply(typename S::sum (*)[TILES][4], ANY...) {}
};

using int8_scheme = byte_scheme<int8_code>;
using int4_scheme = nibble_scheme<1, true>;
static const struct variant {
  enum kind kind;
  const char *name;
  decltype(&cuda_linear_few) run;
  bool bytes; /* tokens are rounded, and may be many */
} variants[] = {{BF16, "bf16", cuda_linear_few},
                {INT8, "int8, as it is", chains_launch<int8_scheme>},
                {INT8, "int8, no products", chains_launch<unused<int8_scheme>>},
                {INT4, "int4, as it is", chains_launch<int4_scheme>},
                {INT4, "int4, no products", chains_launch<unused<int4_scheme>>},
                {INT4, "int4, 2 strips", chains_launch<numbers<int4_scheme, 2, 3>>},
                {INT4, "int4, 4 runs in flight", chains_launch<numbers<int4_scheme, 4, 4>>},
                {E4M3, "FP8", cuda_bytes_few, true},
                {E4M3, "FP8, no products", chains_launch<unused<rounded_scheme>>},
                {E4M3, "FP8, not rounded", chains_launch<byte_scheme<e4m3_code>>},
                {INT8, "W8A8, no products", chains_launch<unused<int8_tokens>>},
                {INT8, "W8A8", cuda_bytes_few, true}};
static const variant *now;

static struct cuda_linear linear_make(const uint8_t *&weights, int rows, int cols, const float *in, float *out, int n) {
  struct cuda_linear a = {};
  a.matrix.data = weights, a.matrix.rows = rows, a.matrix.cols = cols;
  weights += bytes_of(rows, cols);
  a.matrix.kind = kind == BF16 ? KIND_BF16 : kind == E4M3 ? KIND_F8 : KIND_INT, a.matrix.bits = kind == INT4 ? 4 : 8;
  a.matrix.strip_bytes = strip_of(cols), a.matrix.bytes = kind == INT8 || kind == E4M3, a.matrix.nibbles = kind == INT4;
  if (kind == E4M3) a.matrix.activation = ROUND_E4M3_TOKEN;
  if (kind == INT4) a.matrix.group = 128, a.matrix.has_min = 1;
  a.in = in, a.in_cols = cols, a.out = out, a.out_cols = a.result_cols = rows;
  a.n_row = n, a.factor = 1, a.eps = 1e-5f;
  return a;
}

/* leave: for the next one, which has a norm or not. */
enum leave { NOTHING, PLAIN, NORMED };

/* Many tokens in bytes: only a gate leaves its results. */
static void bytes_run(struct cuda_linear a, const network &net, enum leave leave, cudaStream_t stream) {
  const void *tiles = ready ? net.fragments[parity] : nullptr;
  if (tiles) parity ^= 1;
  a.fragments = net.fragments[parity], a.scales = net.squares[parity];
  ready = fuse && leave == PLAIN;
  if (ready) a.next_fragments = net.fragments[parity ^= 1];
  cuda_linear_bytes(&a, tiles, 0, stream);
}

static void linear_run(struct cuda_linear a, const network &net, enum leave leave, int multiprocessors,
                       cudaStream_t stream) {
  if (now && now->bytes && a.n_row > (kind == INT8 ? LINEAR_INT8_FEW : LINEAR_CODED_FEW)) {
    bytes_run(a, net, leave, stream);
    return;
  }
  a.fragments = net.fragments[parity], a.ready = ready, a.scales = net.squares[parity];
  if (ready && a.has_norm) a.squares = net.squares[parity], a.n_square = a.matrix.cols / 16;
  ready = fuse && leave != NOTHING;
  if (ready) {
    parity ^= 1;
    a.next_fragments = net.fragments[parity];
    if (leave == NORMED) a.next_norm = net.norm, a.next_squares = net.squares[parity];
  }
  if (a.n_row > LINEAR_FEW) {
    cuda_linear_many(&a, multiprocessors, stream);
    return;
  }
  waiting.push_back(a);
  if (ready && waiting.size() < LINEAR_CHAIN) return;
  few_run(waiting.data(), (int)waiting.size(), &between, multiprocessors, stream);
  waiting.clear();
}

static void layers_run(const network &net, int n, int multiprocessors, cudaStream_t stream) {
  const uint8_t *w = net.weights;
  for (int i = 0; i < LAYERS; i++) {
    struct cuda_linear a = linear_make(w, QKV, WIDTH, net.hidden, net.qkv, n);
    a.norm = net.norm, a.has_norm = 1;
    linear_run(a, net, NOTHING, multiprocessors, stream);
    a = linear_make(w, WIDTH, WIDTH, net.head, net.hidden, n);
    a.residual = net.hidden, a.residual_cols = WIDTH;
    linear_run(a, net, NORMED, multiprocessors, stream);
    a = linear_make(w, 2 * INNER, WIDTH, net.hidden, net.inner, n);
    a.norm = net.norm, a.has_norm = 1, a.gated = 1, a.act = 1, a.out_cols = a.result_cols = INNER;
    linear_run(a, net, PLAIN, multiprocessors, stream);
    a = linear_make(w, WIDTH, INNER, net.inner, net.hidden, n);
    a.residual = net.hidden, a.residual_cols = WIDTH;
    linear_run(a, net, i + 1 < LAYERS ? NORMED : NOTHING, multiprocessors, stream);
  }
}

static void inputs_fill(const network &net) {
  fill<<<64, 256>>>((uint32_t *)net.hidden, (size_t)TOKENS_MOST * WIDTH, 0x807fffff, 0x3f000000);
  fill<<<64, 256>>>((uint32_t *)net.head, (size_t)TOKENS_MOST * WIDTH, 0x807fffff, 0x3f000000);
  CHECK(cudaDeviceSynchronize());
}

/* With inputs prepared by the linear before against those prepared by a kernel of their own; and a token's bytes do not
 * tell how many others there are. */
static void check(const network &net, int n, int multiprocessors, cudaStream_t stream) {
  static std::vector<float> alone;
  if (n == 1) alone.clear();
  std::vector<float> hidden[3];
  for (int i = 0; i < 3; i++) {
    inputs_fill(net);
    fuse = i > 0;
    layers_run(net, n, multiprocessors, stream);
    CHECK(cudaStreamSynchronize(stream));
    hidden[i].resize((size_t)n * WIDTH);
    CHECK(cudaMemcpy(hidden[i].data(), net.hidden, hidden[i].size() * 4, cudaMemcpyDeviceToHost));
  }
  double error = 0, size = 0;
  for (size_t i = 0; i < hidden[0].size(); i++) {
    error += (hidden[1][i] - hidden[0][i]) * (double)(hidden[1][i] - hidden[0][i]);
    size += (double)hidden[0][i] * hidden[0][i];
  }
  bool same = memcmp(hidden[1].data(), hidden[2].data(), hidden[1].size() * 4) == 0;
  if (alone.empty()) alone.assign(hidden[1].begin(), hidden[1].begin() + WIDTH);
  if (n <= (kind == BF16 ? (int)LINEAR_FEW : 8) && memcmp(alone.data(), hidden[1].data(), alone.size() * 4) != 0)
    same = false, printf("token 0 is another: ");
  printf("check %d tokens: difference %.1e of %.1e%s%s\n", n, std::sqrt(error / size),
         std::sqrt(size / hidden[0].size()), same ? "" : "  NOT THE SAME TWICE",
         verdict(same && error / size < (now->bytes ? 1e-2 : 1e-4)));
}

static void weights_fill(const network &net) {
  static const int shapes[][2] = {{QKV, WIDTH}, {WIDTH, WIDTH}, {2 * INNER, WIDTH}, {WIDTH, INNER}};
  uint8_t *at = net.weights;
  for (int i = 0; i < LAYERS * 4; i++) {
    size_t bytes = bytes_of(shapes[i % 4][0], shapes[i % 4][1]);
    if (kind == BF16)
      fill<<<4096, 256>>>((uint32_t *)at, bytes / 4, 0x807f807f, 0x3c003c00); /* ± 2⁻⁷ */
    else
      fill_coded<<<4096, 256>>>((uint32_t *)at, bytes / 4, strip_of(shapes[i % 4][1]), kind);
    at += bytes;
  }
  CHECK(cudaDeviceSynchronize());
}

static size_t layer_bytes() {
  return bytes_of(QKV, WIDTH) + bytes_of(WIDTH, WIDTH) + bytes_of(2 * INNER, WIDTH) + bytes_of(WIDTH, INNER);
}

static network network_make(size_t layer) {
  network net;
  CHECK(cudaMalloc(&net.weights, layer * LAYERS));
  between.units = cuda_between_units(INNER);
  CHECK(cudaMalloc(&between.state, BETWEEN_WORDS * 4));
  CHECK(cudaMemset(between.state, 0, BETWEEN_WORDS * 4));
  CHECK(cudaMalloc(&between.sets, between.units * 32));
  CHECK(cudaMemset(between.sets, 0xff, between.units * 32));
  CHECK(cudaMalloc(&net.hidden, (size_t)TOKENS_MOST * WIDTH * 4));
  CHECK(cudaMalloc(&net.qkv, (size_t)TOKENS_MOST * QKV * 4));
  CHECK(cudaMalloc(&net.head, (size_t)TOKENS_MOST * WIDTH * 4));
  CHECK(cudaMalloc(&net.inner, (size_t)TOKENS_MOST * INNER * 4));
  CHECK(cudaMalloc(&net.norm, WIDTH * 4));
  for (int i = 0; i < 2; i++) {
    CHECK(cudaMalloc(&net.fragments[i], (size_t)TOKENS_MOST * INNER * 2));
    CHECK(cudaMalloc(&net.squares[i], (size_t)TOKENS_MOST * WIDTH / 4));
  }
  weights_fill(net);
  fill<<<64, 256>>>((uint32_t *)net.norm, WIDTH, 0x007fffff, 0x3f000000);
  CHECK(cudaDeviceSynchronize());
  return net;
}

/* By turns as a graph, so that the host's launches are not what is measured, and as launches: µs a layer of either. */
static void layers_time(const network &net, int n, int multiprocessors, cudaStream_t stream, float us[2]) {
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  layers_run(net, n, multiprocessors, stream);
  CHECK(cudaStreamEndCapture(stream, &graph));
  CHECK(cudaGraphInstantiate(&exec, graph, 0));
  cudaEvent_t a, b;
  CHECK(cudaEventCreate(&a));
  CHECK(cudaEventCreate(&b));
  std::vector<float> times[2];
  for (int i = 0; i < 24; i++) {
    CHECK(cudaEventRecord(a, stream));
    if (i % 2)
      layers_run(net, n, multiprocessors, stream);
    else
      CHECK(cudaGraphLaunch(exec, stream));
    CHECK(cudaEventRecord(b, stream));
    CHECK(cudaEventSynchronize(b));
    float ms;
    CHECK(cudaEventElapsedTime(&ms, a, b));
    if (i >= 4) times[i % 2].push_back(ms * 1000 / LAYERS);
  }
  CHECK(cudaGetLastError());
  for (int i = 0; i < 2; i++) us[i] = median_of(times[i]);
  CHECK(cudaEventDestroy(a));
  CHECK(cudaEventDestroy(b));
  CHECK(cudaGraphExecDestroy(exec));
  CHECK(cudaGraphDestroy(graph));
}

/* Of the kind's layers. */
static void times_print(const network &net, const char *name, int n, double bandwidth, int multiprocessors,
                        cudaStream_t stream) {
  float us[2];
  layers_time(net, n, multiprocessors, stream, us);
  double floor_us = layer_bytes() / bandwidth * 1e-3, flops = 2.0 * LAYER_WEIGHTS * n;
  printf(
      "%s, %4d tokens: %.1f us a layer as a graph, %.1f as launches; weights' floor %.1f us: %.0f %%; %.0f TFLOP/s\n",
      name, n, us[0], us[1], floor_us, 100 * floor_us / us[0], flops / us[0] * 1e-6);
  fflush(stdout);
}

static void variant_run(const variant &v, const network &net, double bandwidth, int multiprocessors,
                        cudaStream_t stream) {
  bool whole = v.bytes || v.kind == BF16;
  kind = v.kind, few_run = v.run, now = &v, ready = false;
  weights_fill(net);
  for (int n : {1, 7, 8, 13, 27, 32, 50, 128, 200, 300})
    if ((whole || n <= LINEAR_CODED_FEW) && !strstr(v.name, "no products")) check(net, n, multiprocessors, stream);
  fuse = true;
  for (int n : {1, 8, 16, 24, 32, 33, 64, 128, 256, 512, 1024, 2048})
    if (whole || n <= LINEAR_CODED_FEW) times_print(net, v.name, n, bandwidth, multiprocessors, stream);
}

int main(int argc, char **argv) {
  cudaDeviceProp p;
  cudaStream_t stream;
  CHECK(cudaGetDeviceProperties(&p, 0));
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  size_t layer = layer_bytes();
  network net = network_make(layer);
  double bandwidth = read_rate(net.weights, layer * LAYERS, p.multiProcessorCount);
  printf("%s: read %.0f GB/s\n", p.name, bandwidth);
  for (const variant &v : variants)
    for (int i = argc > 1; i < argc; i++)
      if (i == 0 || strncmp(v.name, argv[i], strlen(argv[i])) == 0) {
        variant_run(v, net, bandwidth, p.multiProcessorCount, stream);
        break;
      }
  return wrong > 0;
}
