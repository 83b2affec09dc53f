/* Sampling one row of logits. Passes over the vocabulary are plain loops over chunks that the compiler vectorizes; what
 * filters keep is a short list of candidates, found by partial selection: the vocabulary is never sorted.
 *
 * Scratch, in order: a double for each chunk (sums of weights), a float for each token (masked logits, then weights), a
 * candidate for each token. */
#include "backend/sampler.h"

#include "base/half.h"

#include <math.h>

enum { CHUNK = 256, LANES = 16 };

struct candidate {
  float key; /* logit or weight: what candidates are ordered by, greatest first, then lowest token */
  int32_t token;
};

struct scratch {
  double *sum;            /* [chunks] */
  float *weight;          /* [vocab] */
  struct candidate *list; /* [vocab] */
};

static int chunk_count(int vocab) { return (vocab + CHUNK - 1) / CHUNK; }

size_t sampler_scratch_bytes(int vocab) {
  return (size_t)chunk_count(vocab) * sizeof(double) + (size_t)vocab * (sizeof(float) + sizeof(struct candidate));
}

static struct scratch scratch_split(void *memory, int vocab) {
  struct scratch s = {.sum = memory};
  s.weight = (float *)(s.sum + chunk_count(vocab));
  s.list = (struct candidate *)(s.weight + vocab);
  return s;
}

/* --- random numbers --------------------------------------------------------------------------------------------- */

/* Philox 4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A bijection of
 * the counter under a key: any draw is found without the draws before it. */
double sampler_uniform(uint64_t seed, uint64_t index) {
  uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  uint32_t word[4] = {(uint32_t)index, (uint32_t)(index >> 32), 0, 0};
  for (int round = 0; round < 10; round++) {
    uint64_t a = (uint64_t)0xD2511F53u * word[0], b = (uint64_t)0xCD9E8D57u * word[2];
    word[0] = (uint32_t)(b >> 32) ^ word[1] ^ key[0];
    word[1] = (uint32_t)b;
    word[2] = (uint32_t)(a >> 32) ^ word[3] ^ key[1];
    word[3] = (uint32_t)a;
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return (double)(((uint64_t)word[0] << 32 | word[1]) >> 11) * 0x1p-53;
}

/* --- passes over the vocabulary --------------------------------------------------------------------------------- */

/* eˣ for x ≤ 0 within 3e-7 of its value, and 0 below −87: 2ⁿ times a Taylor series on |r| ≤ ln 2 / 2. No branch and no
 * call, so that loops over it vectorize; the same operations, hence the same bits, everywhere. */
static inline float exp_negative(float x) {
  float bounded = x > -87.0f ? x : -87.0f;
  float n = (bounded * 1.44269504f + 12582912.0f) - 12582912.0f; /* 1.5 × 2²³: rounds to an integer */
  float r = bounded - n * 0.693359375f + n * 2.12194440e-4f;     /* ln 2 in two parts: n times the first is exact */
  float series = 1.0f / 5040;
  series = series * r + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * r + 1;
  series = series * r + 1;
  float power = float_from_bits((uint32_t)((int32_t)n + 127) << 23);
  return x > -87.0f ? series * power : 0;
}

static float lanes_max(const float *x, int n, float max) {
  for (int i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
  return max;
}

/* The greatest logit; false when one is NaN or +∞. */
static bool row_max(const float *x, int n, float *max) {
  float lane[LANES];
  int bad[LANES] = {0};
  for (int l = 0; l < LANES; l++) lane[l] = -INFINITY;
  int i = 0;
  for (; i + LANES <= n; i += LANES) {
    for (int l = 0; l < LANES; l++) {
      bad[l] |= !(x[i + l] < INFINITY);
      lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    }
  }
  *max = lanes_max(lane, LANES, lanes_max(x + i, n - i, -INFINITY));
  int any = 0;
  for (int l = 0; l < LANES; l++) any |= bad[l];
  for (; i < n; i++) any |= !(x[i] < INFINITY);
  return !any;
}

static float lanes_sum(const float *x, int n) {
  float lane[LANES] = {0}, sum = 0;
  int i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int l = 0; l < LANES; l++) lane[l] += x[i + l];
  for (int l = 0; l < LANES; l++) sum += lane[l];
  for (; i < n; i++) sum += x[i];
  return sum;
}

static void chunk_weigh(const float *x, int n, float max, float inverse_temperature, float *weight) {
  for (int i = 0; i < n; i++) weight[i] = exp_negative((x[i] - max) * inverse_temperature);
}

/* Fills weight and sum of the scratch from logits (which may be the weights' own place) and returns the total. */
static double row_weigh(const float *x, int vocab, float max, float inverse_temperature, const struct scratch *s) {
  double total = 0;
  for (int c = 0; c < chunk_count(vocab); c++) {
    int first = c * CHUNK, n = vocab - first < CHUNK ? vocab - first : CHUNK;
    chunk_weigh(x + first, n, max, inverse_temperature, s->weight + first);
    s->sum[c] = lanes_sum(s->weight + first, n);
    total += s->sum[c];
  }
  return total;
}

static void row_mask(const float *logits, int vocab, const uint32_t *mask, float *out) {
  for (int i = 0; i < vocab; i++) out[i] = mask[i / 32] >> (i % 32) & 1 ? logits[i] : -INFINITY;
}

static int row_find(const float *x, float value) {
  int i = 0;
  while (x[i] != value) i++;
  return i;
}

/* --- candidates ------------------------------------------------------------------------------------------------- */

static bool candidate_before(struct candidate a, struct candidate b) {
  return a.key > b.key || (a.key == b.key && a.token < b.token);
}

static void candidate_swap(struct candidate *a, struct candidate *b) {
  struct candidate kept = *a;
  *a = *b, *b = kept;
}

/* Moves what goes before list[middle] to the front of [first, end) and it behind them; returns its place. */
static int partition(struct candidate *list, int first, int end) {
  candidate_swap(list + first + (end - first) / 2, list + end - 1);
  int place = first;
  for (int i = first; i < end - 1; i++)
    if (candidate_before(list[i], list[end - 1])) candidate_swap(list + i, list + place++);
  candidate_swap(list + place, list + end - 1);
  return place;
}

static double measure(const struct candidate *list, int first, int end, bool by_mass) {
  if (!by_mass) return end - first;
  double mass = 0;
  for (int i = first; i < end; i++) mass += list[i].key;
  return mass;
}

/* Quickselect: moves to the front the fewest of the first candidates in order whose number (or mass of keys) reaches
 * the target, at least one; returns how many. All n ≥ 1 when the target is out of reach. */
static int candidates_keep(struct candidate *list, int n, double target, bool by_mass) {
  int first = 0, end = n; /* the last one kept is within */
  double reached = 0;     /* by those before `first` */
  while (end - first > 1) {
    int place = partition(list, first, end);
    double before = reached + measure(list, first, place, by_mass);
    double with = before + measure(list, place, place + 1, by_mass);
    if (place > first && before >= target) {
      end = place;
    } else if (with >= target || place + 1 == end) {
      return place + 1;
    } else {
      first = place + 1;
      reached = with;
    }
  }
  return end;
}

/* The k greatest logits. The list holds those that may be among them; when it is full, the k best of it raise the
 * threshold that later ones must pass. */
static int collect_top_k(const float *x, int vocab, int k, struct candidate *list) {
  int n = 0, room = k < (vocab - 64) / 2 ? 2 * k + 64 : vocab;
  float threshold = -INFINITY;
  for (int i = 0; i < vocab; i++) {
    if (!(x[i] > threshold)) continue;
    list[n++] = (struct candidate){x[i], i};
    if (n < room) continue;
    n = candidates_keep(list, n, k, false);
    threshold = INFINITY;
    for (int j = 0; j < n; j++) threshold = list[j].key < threshold ? list[j].key : threshold;
  }
  return n > k ? candidates_keep(list, n, k, false) : n;
}

/* All that top_p can keep: tokens below the floor have a mass of at most (1 − top_p) × total together. */
static int collect_top_p(const float *weight, int vocab, double total, double top_p, struct candidate *list) {
  float floor = (float)((1 - top_p) * total / vocab * (1 - 1e-6));
  int n = 0;
  for (int i = 0; i < vocab; i++)
    if (weight[i] >= floor) list[n++] = (struct candidate){weight[i], i};
  return n;
}

/* --- the draw --------------------------------------------------------------------------------------------------- */

static int draw_candidate(const struct candidate *list, int n, double uniform) {
  double left = uniform * measure(list, 0, n, true);
  int last = list[0].token; /* with weight: where rounding at the end of the walk leads */
  for (int i = 0; i < n; i++) {
    if (list[i].key > 0) last = list[i].token;
    left -= list[i].key;
    if (left < 0) break;
  }
  return last;
}

static int draw_weighted(const struct scratch *s, int vocab, double total, double uniform) {
  double left = uniform * total;
  int chunk = 0;
  for (int c = 0; c < chunk_count(vocab); c++) {
    if (s->sum[c] > 0) chunk = c;
    if (left < s->sum[c]) break;
    left -= s->sum[c];
  }
  int last = 0, end = (chunk + 1) * CHUNK < vocab ? (chunk + 1) * CHUNK : vocab;
  for (int i = chunk * CHUNK; i < end; i++) {
    if (s->weight[i] > 0) last = i;
    left -= s->weight[i];
    if (left < 0) break;
  }
  return last;
}

/* x: logits after the mask, of which max is the greatest. */
static int token_draw(const float *x, int vocab, float max, const struct sampling *sampling, const struct scratch *s) {
  double uniform = sampler_uniform(sampling->seed, sampling->index);
  float inverse = 1 / fminf(sampling->temperature, 1e30f);
  bool filtered = sampling->top_p < 1;
  double top_p = sampling->top_p > 0 ? sampling->top_p : 0, total;
  int n;
  if (sampling->top_k > 0 && sampling->top_k < vocab) {
    n = collect_top_k(x, vocab, sampling->top_k, s->list);
    for (int i = 0; i < n; i++) s->list[i].key = exp_negative((s->list[i].key - max) * inverse);
    total = measure(s->list, 0, n, true);
  } else {
    total = row_weigh(x, vocab, max, inverse, s);
    if (!filtered) return draw_weighted(s, vocab, total, uniform);
    n = collect_top_p(s->weight, vocab, total, top_p, s->list);
  }
  if (filtered) n = candidates_keep(s->list, n, top_p * total, true);
  return draw_candidate(s->list, n, uniform);
}

bool sampler_draw(const float *logits, int vocab, const struct sampling *sampling, const uint32_t *mask, void *memory,
                  struct sample *sample, struct error *error) {
  struct scratch s = scratch_split(memory, vocab);
  float raw_max, max;
  if (!row_max(logits, vocab, &raw_max) || raw_max == -INFINITY)
    return error_set(error, ERROR_DEVICE, "The step computed logits that are not finite: the weights may be damaged.");
  double raw_total = row_weigh(logits, vocab, raw_max, 1, &s);
  const float *x = logits;
  max = raw_max;
  if (mask) {
    row_mask(logits, vocab, mask, s.weight);
    x = s.weight;
    row_max(x, vocab, &max);
    if (max == -INFINITY) return error_set(error, ERROR_INTERNAL, "A mask leaves no token to choose.");
  }
  bool greedy = !(sampling->temperature >= SAMPLER_GREEDY);
  sample->token = greedy ? row_find(x, max) : token_draw(x, vocab, max, sampling, &s);
  sample->logprob = (float)((double)logits[sample->token] - raw_max - log(raw_total));
  return true;
}
