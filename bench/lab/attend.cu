/* The backend's attention on the matrix units, alone: checked against plain float arithmetic and against itself in
 * other company, then timed against its floor: bytes of keys and values ÷ the rate of a plain read in the same run, or,
 * of prefill, operations.
 *
 *   nvcc -O3 -std=c++17 -gencode=arch=compute_90a,code=sm_90a -Isrc -o attend bench/lab/attend.cu \
 *     build/cuda/src/backend/libroom_backend.a
 *   ./attend [check|all|decode|prefill|profile|quick] */
#include "backend/cuda/attend.cuh"
#include "backend/cuda/attend_split.h"
#include "lab.cuh"

struct problem {
  int n_head, n_kv_head, dim, block_size, n_layer, window;
  float softcap;
  bool sinks;
  std::vector<cuda_row> row; /* first is filled in */
  size_t before;             /* bytes of the cache that no row has a block in, before all that do */
};

/* --- memory ------------------------------------------------------------------------------------------------------- */

template <typename T> static T *on_device(size_t n, const T *from = nullptr) {
  T *p;
  CHECK(cudaMalloc(&p, std::max<size_t>(n, 1) * sizeof(T)));
  if (from)
    CHECK(cudaMemcpy(p, from, n * sizeof(T), cudaMemcpyHostToDevice));
  else
    CHECK(cudaMemset(p, 0, std::max<size_t>(n, 1) * sizeof(T)));
  return p;
}

__device__ float noise(uint64_t i, uint32_t seed) {
  uint64_t h = (i + seed * 0x1000003ull) * 0x9E3779B97F4A7C15ull;
  h ^= h >> 32;
  h *= 0xD6E8FEB86659FD93ull;
  h ^= h >> 29;
  h *= 0x9E3779B97F4A7C15ull;
  return ((h >> 40 & 0xfff) + (h >> 28 & 0xfff) + (h >> 16 & 0xfff) + (h >> 52 & 0xfff)) / 4096.f * 1.7f - 3.4f;
}

__global__ void noise_f16(__half *x, size_t n, uint32_t seed) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
    x[i] = __float2half(noise(i, seed));
}

/* Numbers of [0, n) that are not NaN. */
__global__ void numbers_count(const __half *x, size_t n, unsigned long long *count) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
    if (!__hisnan(x[i])) atomicAdd(count, 1ull);
}

__global__ void noise_f32(float *x, size_t n, uint32_t seed) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += (size_t)gridDim.x * blockDim.x)
    x[i] = noise(i, seed);
}

/* A problem on the device; row by row the same numbers whatever its company, if `identity` says so. */
struct bench {
  cuda_attend a = {};
  cuda_batch batch = {};
  std::vector<cuda_row> row;
  std::vector<cuda_cut> cut;
  std::vector<void *> memory;
  size_t before = 0; /* elements of the cache in whole blocks that nobody has: NaN */
  double kv_bytes = 0, operations = 0;
};

static int multiprocessors;

template <typename T> static T *take(bench *b, size_t n, const T *from = nullptr) {
  T *p = on_device<T>(n, from);
  b->memory.push_back((void *)p);
  return p;
}

static void batch_fill(bench *b, const problem &p) {
  int n_token = 0, blocks = 0;
  b->row = p.row;
  for (auto &r : b->row) {
    r.first = n_token;
    n_token += r.count;
    r.table = blocks;
    r.table_size = (r.length + r.count + p.block_size - 1) / p.block_size;
    blocks += r.table_size;
  }
  std::vector<uint32_t> order;
  size_t per_block = (size_t)p.n_layer * p.n_kv_head * p.block_size * p.dim * 2;
  uint32_t unused = (uint32_t)(p.before / (per_block * sizeof(__half)));
  for (int i = 0; i < blocks; i++) order.push_back(unused + i);
  srand(7);
  for (int i = blocks - 1; i > 0; i--) std::swap(order[i], order[rand() % (i + 1)]);
  std::vector<int32_t> token_row;
  for (size_t r = 0; r < b->row.size(); r++)
    for (int i = 0; i < b->row[r].count; i++) token_row.push_back((int)r);
  b->batch = {.n_row = (int)b->row.size(), .n_token = n_token, .n_out = 0};
  b->batch.row = take(b, b->row.size(), b->row.data());
  b->batch.token_row = take(b, token_row.size(), token_row.data());
  b->batch.tables = take(b, order.size(), order.data());
  b->before = unused * per_block;
  __half *cache = take<__half>(b, b->before + blocks * per_block);
  b->a.cache = (uint8_t *)cache;
  CHECK(cudaMemset(cache, 0xff, b->before * sizeof *cache));
  noise_f16<<<4096, 256>>>(cache + b->before, blocks * per_block, 1);
}

static void work_fill(bench *b, const problem &p) {
  attend_heads heads = {p.n_head / p.n_kv_head, p.n_kv_head, p.window};
  int n_share = attend_shares(p.dim, multiprocessors);
  b->cut.resize(n_share + 1);
  std::vector<cuda_chunk> chunk(attend_chunks_most(&heads, b->batch.n_token, b->batch.n_row));
  b->a.n_share =
      attend_split(&heads, b->row.data(), (int)b->row.size(), n_share, ATTEND_PARTS, b->cut.data()) ? n_share : 0;
  b->a.n_chunk = attend_chunks(&heads, b->row.data(), (int)b->row.size(), chunk.data());
  b->a.cut = take(b, b->cut.size(), b->cut.data());
  b->a.chunk = take(b, chunk.size(), chunk.data());
}

static bench bench_make(const problem &p) {
  bench b;
  int cols = (p.n_head + 2 * p.n_kv_head) * p.dim;
  batch_fill(&b, p);
  work_fill(&b, p);
  b.a.n_head = p.n_head, b.a.n_kv_head = p.n_kv_head, b.a.dim_k = b.a.dim_v = p.dim, b.a.in_cols = cols;
  b.a.n_group = 1, b.a.n_layer = p.n_layer, b.a.block_size = p.block_size, b.a.window = p.window;
  b.a.scale = (float)(1 / sqrt(p.dim)), b.a.softcap = p.softcap, b.a.kv = CACHE_F16, b.a.n_block = multiprocessors;
  b.a.eps = 1e-6f, b.a.rope_scale = 1, b.a.rope_dim = p.dim, b.a.rope_style = p.sinks ? ROTATE_PAIRS : 1;
  b.a.n_angle = p.dim / 2;
  float *in = take<float>(&b, (size_t)b.batch.n_token * cols), *sink = take<float>(&b, p.n_head);
  float *norm = take<float>(&b, 2 * p.dim), *angle = take<float>(&b, (size_t)b.batch.n_token * p.dim);
  noise_f32<<<1, 256>>>(norm, 2 * p.dim, 4);
  noise_f32<<<64, 256>>>(angle, (size_t)b.batch.n_token * p.dim, 6);
  b.a.norm_q = norm, b.a.norm_k = norm + p.dim, b.a.angle = angle;
  noise_f32<<<1024, 256>>>(in, (size_t)b.batch.n_token * cols, 2);
  noise_f32<<<1, 256>>>(sink, p.n_head, 3);
  b.a.in = in, b.a.sink = p.sinks ? sink : nullptr;
  b.a.out = take<float>(&b, (size_t)b.batch.n_token * p.n_head * p.dim);
  b.a.query = take<uint16_t>(&b, (size_t)b.batch.n_token * p.n_head * p.dim);
  b.a.parts = take<float>(&b, (size_t)ATTEND_PARTS * (p.dim + 8));
  b.a.arrived = take<uint32_t>(&b, 4 * multiprocessors);
  for (auto &r : b.row) {
    double end = r.length + r.count, seen = p.window ? std::min<double>(end, p.window + r.count) : end;
    b.kv_bytes += seen * p.n_kv_head * p.dim * 4;
    b.operations += 4. * p.n_head * p.dim * ((double)r.count * r.length + r.count * (r.count + 1.) / 2);
  }
  CHECK(cudaDeviceSynchronize());
  return b;
}

static void bench_free(bench *b) {
  for (void *p : b->memory) CHECK(cudaFree(p));
}

/* What runs: what tokens bring is there; is stored first; is made by decode attention. */
enum way { ALONE, STORED, FRESH };

static void attend_run(const bench &b, way how, cudaStream_t stream = 0) {
  cuda_attend a = b.a;
  a.fresh = how == FRESH;
  if (how == STORED) cuda_attend_store(&a, &b.batch, stream);
  if (a.n_share) cuda_attend_decode(&a, &b.batch, stream);
  if (b.a.n_chunk) cuda_attend_prefill(&b.a, &b.batch, stream);
}

/* --- the check ---------------------------------------------------------------------------------------------------- */

/* A block for each token and head, all scores in `scratch`. */
__global__ void reference(cuda_attend a, cuda_batch batch, float *scratch, int longest, float *out) {
  int token = blockIdx.x, h = blockIdx.y, row = batch.token_row[token], kv = h / (a.n_head / a.n_kv_head), d = a.dim_k;
  cuda_row r = batch.row[row];
  span s = token_span(a, batch, r, token - r.first);
  float *score = scratch + ((size_t)token * a.n_head + h) * longest;
  const __half *q = (const __half *)a.query + ((size_t)token * a.n_head + h) * d, *cache = (const __half *)a.cache;
  const uint32_t *table = table_of(a, batch, r);
  for (int k = s.begin + threadIdx.x; k < s.end; k += blockDim.x) {
    float sum = 0;
    const __half *key = cache + block_index(a, table[k / a.block_size], kv, 0);
    for (int i = 0; i < d; i++)
      sum += __half2float(q[i]) * __half2float(key[panel_index(d, a.block_size, k % a.block_size, i)]);
    score[k] = a.softcap > 0 ? a.softcap * tanhf(sum / a.softcap) * LOG2_E : sum;
  }
  __syncthreads();
  float highest = a.sink ? a.sink[h] * LOG2_E : -INFINITY, total = 0;
  for (int k = s.begin; k < s.end; k++) highest = fmaxf(highest, score[k]);
  for (int k = s.begin; k < s.end; k++) total += exp2f(score[k] - highest);
  if (a.sink) total += exp2f(a.sink[h] * LOG2_E - highest);
  for (int i = threadIdx.x; i < d; i += blockDim.x) {
    float sum = 0;
    for (int k = s.begin; k < s.end; k++) {
      const __half *value = cache + block_index(a, table[k / a.block_size], kv, 1);
      sum += exp2f(score[k] - highest) * __half2float(value[panel_index(d, a.block_size, k % a.block_size, i)]);
    }
    out[((size_t)token * a.n_head + h) * d + i] = sum / total;
  }
}

static std::vector<float> result_of(const bench &b) {
  std::vector<float> out((size_t)b.batch.n_token * b.a.n_head * b.a.dim_k);
  CHECK(cudaDeviceSynchronize());
  CHECK(cudaMemcpy(out.data(), b.a.out, out.size() * 4, cudaMemcpyDeviceToHost));
  return out;
}

/* The same rows, each alone and token by token: cache and queries are those of the whole. */
static size_t alone_differ(const bench &b, const problem &p, const std::vector<float> &whole) {
  size_t differ = 0, per_token = (size_t)p.n_head * p.dim;
  attend_heads heads = {p.n_head / p.n_kv_head, p.n_kv_head, p.window};
  for (size_t r = 0; r < b.row.size(); r++)
    for (int t = 0; t < b.row[r].count; t += std::max(1, b.row[r].count / 7)) {
      bench one = b;
      cuda_row row = {0, 1, b.row[r].length + t, 0, b.row[r].table, b.row[r].table_size};
      one.memory.clear();
      one.a.n_share = attend_shares(p.dim, multiprocessors), one.a.n_chunk = 0;
      one.cut.assign(one.a.n_share + 1, {});
      attend_split(&heads, &row, 1, one.a.n_share, ATTEND_PARTS, one.cut.data());
      one.batch.n_row = one.batch.n_token = 1;
      one.batch.row = take(&one, 1, &row);
      one.a.cut = take(&one, one.cut.size(), one.cut.data());
      one.a.query = b.a.query + (b.row[r].first + t) * per_token;
      attend_run(one, ALONE);
      std::vector<float> got = result_of(one);
      for (size_t i = 0; i < per_token; i++)
        differ += memcmp(&got[i], &whole[(b.row[r].first + t) * per_token + i], 4) != 0;
      bench_free(&one);
    }
  return differ;
}

/* Are the blocks that nobody has as they were? A place that lost its high bits would be in one of them. */
static bool unused_intact(const bench &b) {
  unsigned long long *count = on_device<unsigned long long>(1), changed;
  numbers_count<<<4096, 256>>>((const __half *)b.a.cache, b.before, count);
  CHECK(cudaMemcpy(&changed, count, sizeof changed, cudaMemcpyDeviceToHost));
  CHECK(cudaFree(count));
  return changed == 0;
}

/* Rows of a token each. */
static bool decodes(const problem &p) {
  for (auto &r : p.row)
    if (r.count != 1) return false;
  return p.n_head / p.n_kv_head <= ATTEND_FEW;
}

/* The same rows without the launch before: results and cache should be the same. */
static size_t fresh_differ(const bench &b, const problem &p, const std::vector<float> &whole) {
  size_t differ = 0, each = (size_t)p.n_layer * p.n_kv_head * p.block_size * p.dim * 2, n = 0;
  if (!decodes(p)) return 0;
  bench one = bench_make(p);
  for (int again = 0; again < 3; again++) attend_run(one, FRESH);
  std::vector<float> got = result_of(one);
  for (size_t i = 0; i < got.size(); i++) differ += memcmp(&got[i], &whole[i], 4) != 0;
  for (auto &r : b.row) n += r.table_size * each;
  std::vector<uint16_t> want(n), have(n);
  CHECK(cudaMemcpy(want.data(), (__half *)b.a.cache + b.before, n * 2, cudaMemcpyDeviceToHost));
  CHECK(cudaMemcpy(have.data(), (__half *)one.a.cache + one.before, n * 2, cudaMemcpyDeviceToHost));
  for (size_t i = 0; i < n; i++) differ += want[i] != have[i];
  bench_free(&one);
  return differ;
}

static void check(const char *name, const problem &p, int longest) {
  bench b = bench_make(p);
  attend_run(b, STORED);
  std::vector<float> got = result_of(b);
  attend_run(b, STORED);
  std::vector<float> again = result_of(b);
  float *scratch = on_device<float>((size_t)b.batch.n_token * p.n_head * longest), *out = on_device<float>(got.size());
  reference<<<dim3(b.batch.n_token, p.n_head), 256>>>(b.a, b.batch, scratch, longest, out);
  std::vector<float> want(got.size());
  CHECK(cudaDeviceSynchronize());
  CHECK(cudaMemcpy(want.data(), out, want.size() * 4, cudaMemcpyDeviceToHost));
  double error = 0, size = 0;
  size_t worst = 0, bad = 0;
  for (size_t i = 0; i < got.size(); i++) {
    double e = fabs((double)got[i] - want[i]);
    if (!(e <= error)) error = e, worst = i;
    size = std::max(size, (double)fabs(want[i]));
    bad += !(e < 4e-3);
  }
  size_t differ = alone_differ(b, p, got), fresh = fresh_differ(b, p, got);
  bool same = memcmp(got.data(), again.data(), got.size() * sizeof got[0]) == 0, intact = unused_intact(b);
  printf(
      "%-34s dim %3d, blocks of %3d: max error %.1e of %.2f; again: %s; differ: alone %zu, in one launch %zu%s%s%s\n",
      name, p.dim, p.block_size, error, size, same ? "the same" : "DIFFERENT", differ, fresh,
      decodes(p) ? "" : " (not run)", intact ? "" : "; WRITTEN ELSEWHERE",
      verdict(same && !bad && !differ && !fresh && intact));
  if (bad)
    printf("    %zu bad; number %zu (token %zu, head %zu, dim %zu) is %g, expected %g\n", bad, worst,
           worst / (p.n_head * p.dim), worst / p.dim % p.n_head, worst % p.dim, got[worst], want[worst]);
  CHECK(cudaFree(scratch));
  CHECK(cudaFree(out));
  bench_free(&b);
}

static void checks(bool prefill) {
  static const int dims[] = {64, 80, 96, 128, 256}, blocks[] = {8, 16, 64, 256};
  std::vector<cuda_row> some = {{0, 1, 0},   {0, 1, 1000}, {0, 1, 127}, {0, 1, 128},
                                {0, 3, 700}, {0, 1, 255},  {0, 16, 300}};
  std::vector<cuda_row> many = {{0, 300, 0}, {0, 1, 77}, {0, 130, 513}};
  for (int dim : dims) check("some rows", {8, 2, dim, 16, 2, 0, 0, false, some}, 1024);
  for (int block : blocks) check("one long row", {8, 2, 128, block, 2, 0, 0, false, {{0, 1, 4999}}}, 5000);
  check("window", {8, 2, 64, 16, 2, 300, 0, false, some}, 1024);
  check("softcap, sinks", {8, 2, 128, 16, 2, 0, 5, true, some}, 1024);
  check("as many KV heads", {4, 4, 128, 16, 2, 0, 0, false, some}, 1024);
  check("24 to 1", {24, 1, 80, 16, 2, 0, 0, false, some}, 1024);
  check("beyond 9 GB", {8, 2, 128, 16, 2, 0, 0, false, some, (size_t)9 << 30}, 1024);
  std::vector<cuda_row> single = {{0, 1, 0},   {0, 1, 1000}, {0, 1, 127}, {0, 1, 128},  {0, 1, 255},
                                  {0, 1, 256}, {0, 1, 512},  {0, 1, 700}, {0, 1, 1023}, {0, 1, 383}};
  for (int dim : dims) check("a token each", {8, 2, dim, 16, 2, 0, 0, false, single}, 1024);
  for (int block : blocks) check("a token each", {14, 2, 128, block, 2, 0, 0, false, single}, 1024);
  for (int queries : {1, 5}) check("a token each", {queries * 2, 2, 128, 16, 2, 0, 0, true, single}, 1024);
  check("a token each, window", {8, 2, 64, 16, 2, 300, 0, false, single}, 1024);
  check("a token each, softcap, sinks", {8, 2, 128, 16, 2, 0, 5, true, single}, 1024);
  check("a token each, 24 to 1", {24, 1, 80, 16, 2, 0, 0, false, single}, 1024);
  if (!prefill) return;
  for (int dim : dims) check("many tokens", {8, 2, dim, 16, 2, 0, 0, false, many}, 1024);
  for (int block : blocks) check("many tokens", {8, 2, 128, block, 2, 0, 0, false, many}, 1024);
  check("many tokens, window", {8, 2, 64, 16, 2, 300, 0, false, many}, 1024);
  check("many tokens, softcap, sinks", {8, 2, 128, 16, 2, 0, 5, true, many}, 1024);
  check("many tokens, beyond 9 GB", {8, 2, 128, 16, 2, 0, 0, false, many, (size_t)9 << 30}, 1024);
  check("many tokens, as many KV heads", {4, 4, 128, 16, 2, 0, 0, false, many}, 1024);
}

/* --- times -------------------------------------------------------------------------------------------------------- */

static double bandwidth_measure() {
  size_t n = (size_t)4 << 30;
  uint8_t *big = on_device<uint8_t>(n);
  noise_f16<<<4096, 256>>>((__half *)big, n / 2, 5);
  double rate = read_rate(big, n, multiprocessors);
  CHECK(cudaFree(big));
  return rate;
}

/* As the layers of a step do: back to back, each over a cache of its own. */
static float chain_time(bench *b, int chain, way how) {
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t whole;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int k = 0; k < chain; k++) {
    b->a.layer = k % b->a.n_layer;
    attend_run(*b, how, stream);
  }
  CHECK(cudaStreamEndCapture(stream, &graph));
  CHECK(cudaGraphInstantiate(&whole, graph, 0));
  float us = median_us([&](int) { CHECK(cudaGraphLaunch(whole, 0)); }, 25) / chain;
  CHECK(cudaGraphExecDestroy(whole));
  CHECK(cudaGraphDestroy(graph));
  CHECK(cudaStreamDestroy(stream));
  return us;
}

static void decode_time(const char *name, problem p, double bandwidth) {
  double layer_bytes = 0;
  for (auto &r : p.row) layer_bytes += (double)(r.length + r.count) * p.n_kv_head * p.dim * 4;
  p.n_layer = (int)std::min(32., std::max(2., 300e6 / layer_bytes + 1));
  bench b = bench_make(p);
  attend_run(b, STORED);
  int n = std::max(8, p.n_layer);
  float one = chain_time(&b, 1, ALONE), many = chain_time(&b, n, ALONE), both = chain_time(&b, n, STORED);
  double floor_us = b.kv_bytes / bandwidth * 1e-3;
  printf("%-34s blocks of %3d: floor %7.1f us; alone %7.1f (%3.0f %%), back to back %7.1f (%3.0f %%), with store %7.1f "
         "(%3.0f %%)",
         name, p.block_size, floor_us, one, 100 * floor_us / one, many, 100 * floor_us / many, both,
         100 * floor_us / both);
  if (decodes(p)) printf(", in one launch %7.1f", chain_time(&b, n, FRESH));
  printf("\n");
  bench_free(&b);
}

static void prefill_time(const char *name, problem p) {
  p.n_layer = 2;
  bench b = bench_make(p);
  attend_run(b, STORED);
  float us = chain_time(&b, 8, ALONE), both = chain_time(&b, 8, STORED);
  printf("%-34s blocks of %3d: %8.1f us, %5.0f TFLOP/s; with store %8.1f us\n", name, p.block_size, us,
         b.operations / us * 1e-6, both);
  bench_free(&b);
}

static void decode_times(double bandwidth) {
  for (int block : {16, 32, 64})
    decode_time("8B, 1 × 32k", {32, 8, 128, block, 2, 0, 0, false, {{0, 1, 32767}}}, bandwidth);
  decode_time("8B, 1 × 128k", {32, 8, 128, 16, 2, 0, 0, false, {{0, 1, 131071}}}, bandwidth);
  for (int n : {1, 2, 4}) {
    decode_time("8B, rows of 512", {32, 8, 128, 16, 2, 0, 0, false, std::vector<cuda_row>(n, {0, 1, 527})}, bandwidth);
  }
  decode_time("7B, 1 × 512", {32, 32, 128, 16, 2, 0, 0, false, {{0, 1, 527}}}, bandwidth);
  decode_time("1B (dim 64), 1 × 512", {32, 8, 64, 16, 2, 0, 0, false, {{0, 1, 527}}}, bandwidth);
  for (int n : {1, 8, 32, 64, 256}) {
    std::vector<cuda_row> rows(n, {0, 1, 1023});
    char name[64];
    snprintf(name, sizeof name, "8B, %d × 1024", n);
    decode_time(name, {32, 8, 128, 16, 2, 0, 0, false, rows}, bandwidth);
  }
  std::vector<cuda_row> uneven;
  for (int i = 0; i < 64; i++) uneven.push_back({0, 1, 100 + i * i * 3 / 4});
  decode_time("8B, 64 × 100 to 3076", {32, 8, 128, 16, 2, 0, 0, false, uneven}, bandwidth);
  decode_time("7B, 16 × 2048", {32, 32, 128, 16, 2, 0, 0, false, std::vector<cuda_row>(16, {0, 1, 2047})}, bandwidth);
  decode_time("1B (dim 64), 32 × 1024", {32, 8, 64, 16, 2, 0, 0, false, std::vector<cuda_row>(32, {0, 1, 1023})},
              bandwidth);
  decode_time("dim 256, 8 to 4, 16 × 4096", {8, 4, 256, 16, 2, 0, 0, false, std::vector<cuda_row>(16, {0, 1, 4095})},
              bandwidth);
  decode_time("8B, 8 × 1024, 4 tokens each", {32, 8, 128, 16, 2, 0, 0, false, std::vector<cuda_row>(8, {0, 4, 1020})},
              bandwidth);
}

static void prefill_times() {
  for (int block : {16, 64}) prefill_time("8B, 2048", {32, 8, 128, block, 2, 0, 0, false, {{0, 2048, 0}}});
  prefill_time("8B, 8192", {32, 8, 128, 16, 2, 0, 0, false, {{0, 8192, 0}}});
  prefill_time("8B, 512 after 8192", {32, 8, 128, 16, 2, 0, 0, false, {{0, 512, 8192}}});
  prefill_time("8B, 4 × 512", {32, 8, 128, 16, 2, 0, 0, false, std::vector<cuda_row>(4, {0, 512, 0})});
  prefill_time("7B, 2048", {32, 32, 128, 16, 2, 0, 0, false, {{0, 2048, 0}}});
  prefill_time("1B (dim 64), 2048", {32, 8, 64, 16, 2, 0, 0, false, {{0, 2048, 0}}});
  prefill_time("dim 256, 2048", {8, 4, 256, 16, 2, 0, 0, false, {{0, 2048, 0}}});
}

/* One launch of each, for a profiler. */
static void profile_run() {
  const problem problems[] = {{32, 8, 128, 16, 2, 0, 0, false, {{0, 1, 32767}}},
                              {32, 8, 128, 16, 2, 0, 0, false, {{0, 1, 1023}}},
                              {32, 8, 64, 16, 2, 0, 0, false, std::vector<cuda_row>(32, {0, 1, 1023})},
                              {32, 8, 128, 16, 2, 0, 0, false, {{0, 4096, 0}}}};
  for (auto &p : problems) {
    bench b = bench_make(p);
    attend_run(b, STORED);
    CHECK(cudaDeviceSynchronize());
    bench_free(&b);
  }
}

/* Little, for a sanitizer. */
static void quick_checks() {
  const std::vector<cuda_row> rows = {{0, 1, 0}, {0, 1, 600}, {0, 3, 127}, {0, 70, 200}};
  for (int dim : {64, 80, 128, 256}) check("a few of each", {2, 1, dim, 16, 1, 0, 0, false, rows}, 1024);
}

int main(int argc, char **argv) {
  const char *only = argc > 1 ? argv[1] : "";
  cudaDeviceProp p;
  CHECK(cudaGetDeviceProperties(&p, 0));
  multiprocessors = p.multiProcessorCount;
  if (strcmp(only, "profile") == 0) return profile_run(), 0;
  if (strcmp(only, "quick") == 0) return quick_checks(), wrong > 0;
  double bandwidth = bandwidth_measure();
  printf("%s: read %.0f GB/s\n", p.name, bandwidth);
  if (strstr("check", only)) checks(false);
  if (strcmp(only, "all") == 0) checks(true);
  if (strstr("decode", only)) decode_times(bandwidth);
  if (strstr("prefill", only)) prefill_times();
  return wrong > 0;
}
