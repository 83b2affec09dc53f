/* The kernel that draws tokens against the sampler on the host, over random rows of logits: the same tokens, from
 * every filter, with ties, and the same log-probabilities. Prints what it takes.
 *
 *   cuda_sampler [VOCAB [ROWS]]   of vocabularies up to this one; skipped (77) where there is no GPU */
#include "backend/cuda/cuda_program.h"
#include "backend/sampler.h"

#include <cuda_runtime_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 64, MOST_VOCAB = 262144, TIMES = 20, HISTORY = 300, PROMPT = 100, ROOM = 1 << 20 };

static int n_row = MOST_ROWS;

enum rules { NO_RULES, PENALTIES, REPETITION, BIASES, ALLOWED, BANS, BANS_OF_ALL, ALL_RULES };

static void die(const char *what, cudaError_t status) {
  printf("cuda_sampler: %s: %s\n", what, cudaGetErrorString(status));
  exit(1);
}

static void check(cudaError_t status, const char *what) {
  if (status != cudaSuccess) die(what, status);
}

static const struct {
  const char *name;
  struct sampling sampling;
  enum rules rules;
} cases[] = {
    {"greedy", {.top_p = 1}, NO_RULES},
    {"temperature 1", {.temperature = 1, .top_p = 1}, NO_RULES},
    {"temperature 0.3", {.temperature = 0.3f, .top_p = 1}, NO_RULES},
    {"temperature 1e30", {.temperature = 1e30f, .top_p = 1}, NO_RULES},
    {"top_k 1", {.temperature = 1, .top_p = 1, .top_k = 1}, NO_RULES},
    {"top_k 40", {.temperature = 0.8f, .top_p = 1, .top_k = 40}, NO_RULES},
    {"top_k 1000", {.temperature = 2, .top_p = 1, .top_k = 1000}, NO_RULES},
    {"top_k 10, hot", {.temperature = 1e30f, .top_p = 1, .top_k = 10}, NO_RULES},
    {"top_p 0.9", {.temperature = 1, .top_p = 0.9f}, NO_RULES},
    {"top_p 0.5", {.temperature = 0.7f, .top_p = 0.5f}, NO_RULES},
    {"top_p 0.999", {.temperature = 1.5f, .top_p = 0.999f}, NO_RULES},
    {"top_p 0.7, hot", {.temperature = 1e30f, .top_p = 0.7f}, NO_RULES},
    {"top_p 0", {.temperature = 1, .top_p = 0}, NO_RULES},
    {"top_k 50, top_p 0.9", {.temperature = 1, .top_p = 0.9f, .top_k = 50}, NO_RULES},
    {"top_k 64, top_p 0.99, hot", {.temperature = 1e3f, .top_p = 0.99f, .top_k = 64}, NO_RULES},
    {"min_p 0.05", {.temperature = 1, .top_p = 1, .min_p = 0.05f}, NO_RULES},
    {"top_p 0.95, min_p 0.02", {.temperature = 1.2f, .top_p = 0.95f, .min_p = 0.02f}, NO_RULES},
    {"top_k 30, top_p 0.9, min_p 0.1", {.temperature = 1, .top_p = 0.9f, .top_k = 30, .min_p = 0.1f}, NO_RULES},
    {"log-probability", {.temperature = 1, .top_p = 1, .want_logprob = true}, NO_RULES},
    {"greedy and the 20 likeliest", {.top_p = 1, .want_logprob = true, .n_top = 20}, NO_RULES},
    {"score", {.draw = DRAW_SCORE, .target = 3, .want_logprob = true, .n_top = 2}, NO_RULES},
    {"beam", {.draw = DRAW_BEAM, .temperature = 1, .top_p = 1, .want_logprob = true, .n_top = 8}, NO_RULES},
    {"penalties", {.temperature = 1, .top_p = 1}, PENALTIES},
    {"repetition_penalty, greedy", {.top_p = 1, .want_logprob = true, .n_top = 3}, REPETITION},
    {"repetition_penalty, top_p", {.temperature = 1, .top_p = 0.9f}, REPETITION},
    {"biases, top_k", {.temperature = 1, .top_p = 1, .top_k = 20}, BIASES},
    {"allowed tokens", {.temperature = 1, .top_p = 1}, ALLOWED},
    {"bad words and min_tokens", {.temperature = 0.5f, .top_p = 1}, BANS},
    {"bans of all that is allowed", {.top_p = 1}, BANS_OF_ALL},
    {"all rules, filtered", {.temperature = 1, .top_p = 0.95f, .top_k = 50, .want_logprob = true}, ALL_RULES},
    {"all rules, beam", {.draw = DRAW_BEAM, .top_p = 1, .want_logprob = true, .n_top = 8}, ALL_RULES},
};

struct bench {
  float *logits, *on_device; /* [MOST_ROWS][vocab] */
  struct cuda_draw *draw;    /* managed, as what follows */
  struct cuda_results *results;
  int32_t *last;
  struct cuda_rules *rules;
  uint8_t *room; /* [ROOM] */
  const struct cuda_path *path;
  float *rows; /* on the device: room for rows of logits */
  void *scratch;
};

/* --- rules -------------------------------------------------------------------------------------------------------- */

static int32_t history[HISTORY + 1], allowed[64], ends[2], words[64];
static struct token_bias bias[40];

/* Of a row: ids of this vocabulary; half of the words of the bad ones end the history. */
static struct logit_rules rules_of(enum rules which, int vocab, int row) {
  struct logit_rules r = {.bias = bias, .allowed = allowed, .end = ends, .bad = words};
  bool all = which == ALL_RULES;
  for (int i = 0; i <= HISTORY; i++) history[i] = (int32_t)((uint32_t)(i % 90) * 7919u + (uint32_t)row * 31u) % vocab;
  for (int i = 0; i < 40; i++) bias[i] = (struct token_bias){(i % 30 * 613 + row) % vocab, (float)(i % 9) - 4.3f};
  for (int i = 0; i < 64; i++) allowed[i] = (int32_t)((uint32_t)i * 2003u + (uint32_t)row) % vocab;
  for (int i = 0; i < 2; i++) ends[i] = allowed[i * 5 % 64];
  if (which == PENALTIES || all) r.frequency_penalty = 0.4f, r.presence_penalty = -0.3f;
  if (which == REPETITION || all) r.repetition_penalty = 1.3f;
  if (which == BIASES || all) r.n_bias = 40;
  if (which == ALLOWED || all) r.n_allowed = 64;
  if (which == BANS_OF_ALL) r.n_allowed = 1;
  if (which == BANS || which == BANS_OF_ALL || all) {
    r.n_end = 2, r.min_tokens = 1000;
    for (int i = 0; i < 12; i++) { /* words of three, of which every other follows; and of one */
      bool follows = i % 2;
      words[r.n_bad++] = i % 3 ? 3 : 1;
      if (i % 3) words[r.n_bad++] = history[HISTORY - 1], words[r.n_bad++] = history[HISTORY] + !follows;
      words[r.n_bad++] = i < 6 ? allowed[i * 3] : (i * 977 + row) % vocab;
    }
  }
  return r;
}

/* Of odd rows the device alone knows the last token. */
static struct sampling sampling_of(int c, int row, const struct logit_rules *rules) {
  struct sampling s = cases[c].sampling;
  s.seed = (uint64_t)row * 1000 + (uint64_t)c;
  s.index = (uint64_t)row;
  if (cases[c].rules == NO_RULES) return s;
  s.index = HISTORY + 1 - PROMPT;
  s.rules = rules;
  s.history = history;
  s.n_history = HISTORY + 1;
  s.n_prompt = PROMPT;
  return s;
}

static void rules_fill(struct bench *b, int c, int row, int vocab) {
  struct logit_rules rules = rules_of(cases[c].rules, vocab, row);
  struct cuda_room room = {b->room, b->room, ROOM, (size_t)row * (ROOM / MOST_ROWS)};
  struct sampling s = sampling_of(c, row, &rules);
  if (row % 2) s.n_history--;
  b->last[row] = history[HISTORY];
  b->draw[row].ruled = cuda_rules_act(&s);
  if (b->draw[row].ruled && !cuda_rules_fill(&room, &s, row, row % 4 == 1 ? history[HISTORY] : -1, b->rules + row))
    die("no room for rules", cudaSuccess);
}

/* --- rows --------------------------------------------------------------------------------------------------------- */

/* About normal, with ties: every 50th is another's double, and in each third row logits are rounded to eighths. */
static void logits_fill(float *logits, int rows, int vocab) {
  for (int r = 0; r < rows; r++)
    for (int i = 0; i < vocab; i++) {
      double sum = 0;
      int of = i % 50 ? i : i / 100 * 50 + 1;
      for (uint64_t k = 0; k < 3; k++) sum += sampler_uniform((uint64_t)r * 3 + k, (uint64_t)of);
      float x = (float)((sum - 1.5) * (1 + r % 5) * 2);
      logits[(size_t)r * (size_t)vocab + (size_t)i] = r % 3 == 2 ? roundf(x * 8) / 8 : r % 16 == 15 ? 1 : x;
    }
}

static struct cuda_draw draw_of(const struct sampling *s, int seat) {
  return (struct cuda_draw){.seed = s->seed,
                            .index = s->index,
                            .scale = 1.44269504f / fminf(s->temperature, 1e30f),
                            .top_p = fmaxf(s->top_p, 0),
                            .min_p = s->min_p,
                            .top_k = s->top_k,
                            .n_top = s->n_top,
                            .target = s->target,
                            .seat = seat,
                            .scored = s->draw == DRAW_SCORE,
                            .greedy = s->draw == DRAW_BEAM || !(s->temperature >= SAMPLER_GREEDY),
                            .want_logprob = s->want_logprob,
                            .beam = s->draw == DRAW_BEAM};
}

static float run(struct bench *b, bool rules, int rows, int vocab, int times) {
  struct cuda_sample a = {.logits = b->on_device,
                          .draw = b->draw,
                          .rules = rules ? b->rules : NULL,
                          .results = b->results,
                          .last = b->last,
                          .vocab = vocab,
                          .block_chunks = b->path->sample_chunks(vocab),
                          .room = b->rows,
                          .rows = CUDA_ROOM_ROWS};
  cudaEvent_t start, end;
  float ms;
  cudaEventCreate(&start);
  cudaEventCreate(&end);
  cudaEventRecord(start, NULL);
  for (int i = 0; i < times; i++) b->path->sample(&a, rows, NULL);
  cudaEventRecord(end, NULL);
  check(cudaGetLastError(), "launch");
  check(cudaEventSynchronize(end), "run");
  cudaEventElapsedTime(&ms, start, end);
  return ms / (float)times * 1000;
}

static int case_run(struct bench *b, int c, int vocab) {
  int wrong = 0;
  bool ruled = cases[c].rules != NO_RULES;
  for (int i = 0; i < n_row; i++) {
    struct sampling s = sampling_of(c, i, NULL);
    b->draw[i] = draw_of(&s, i);
    if (ruled) rules_fill(b, c, i, vocab);
  }
  run(b, ruled, n_row, vocab, 1);
  for (int i = 0; i < n_row; i++) {
    struct logit_rules rules = rules_of(cases[c].rules, vocab, i);
    struct sampling s = sampling_of(c, i, &rules);
    struct sample sample;
    struct error error = {0};
    if (!sampler_draw(b->logits + (size_t)i * (size_t)vocab, vocab, &s, NULL, b->scratch, &sample, &error)) {
      printf("%s\n", error.text);
      exit(1);
    }
    const struct cuda_logprob *top = b->results->top + i * TOP_LOGPROBS;
    bool right = sample.token == b->results->token[i] && sample.token == b->last[i] &&
                 fabsf(sample.logprob - b->results->logprob[i]) < 1e-5f &&
                 memcmp(top, sample.top, (size_t)s.n_top * sizeof *top) == 0;
    if (!right && wrong++ < 3)
      printf("vocab %d, %s, row %d: token %d (%.7f), expected %d (%.7f), logit %.7f\n", vocab, cases[c].name, i,
             b->results->token[i], (double)b->results->logprob[i], sample.token, (double)sample.logprob,
             (double)b->logits[(size_t)i * (size_t)vocab + (size_t)sample.token]);
  }
  return wrong;
}

static void *managed(size_t bytes) {
  void *memory;
  check(cudaMallocManaged(&memory, bytes, cudaMemAttachGlobal), "managed memory");
  memset(memory, 0, bytes);
  return memory;
}

static int bad_run(struct bench *b, int vocab) {
  const float bad[] = {NAN, INFINITY, -NAN};
  int wrong = 0;
  for (int i = 0; i < 3; i++) {
    size_t at = (size_t)i * (size_t)vocab + (size_t)(vocab / 3 * i);
    check(cudaMemcpy(b->on_device + at, &bad[i], sizeof(float), cudaMemcpyHostToDevice), "copy");
  }
  for (int i = 0; i < 4; i++) b->draw[i] = draw_of(&cases[1].sampling, i);
  run(b, false, 4, vocab, 1);
  for (int i = 0; i < 3; i++) wrong += b->results->token[i] != -1 || b->last[i] != 0;
  return wrong + (b->results->token[3] < 0);
}

static void times_print(struct bench *b, int vocab) {
  for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
    printf("  vocab %d, %-32s", vocab, cases[c].name);
    for (int rows = 1; rows <= n_row; rows *= 8) {
      bool ruled = cases[c].rules != NO_RULES;
      for (int i = 0; i < rows; i++) {
        b->draw[i] = draw_of(&cases[c].sampling, i);
        if (ruled) rules_fill(b, (int)c, i, vocab);
      }
      run(b, ruled, rows, vocab, 3);
      printf(" %d rows %6.1f us", rows, (double)run(b, ruled, rows, vocab, TIMES));
    }
    printf("\n");
  }
}

int main(int argc, char **argv) {
  const int vocabs[] = {1, 37, 1000, 5000, 49152, 128256, MOST_VOCAB};
  int count = 0, failed = 0, most = argc > 1 ? atoi(argv[1]) : MOST_VOCAB;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    printf("SKIPPED: there is no GPU\n");
    return 77;
  }
  struct error error = {0};
  struct device *device = cuda_open(NULL, &error);
  if (!device) {
    printf("cuda_sampler: %s\n", error.text);
    return 1;
  }
  printf("%s\n", device->description);
  if (argc > 2 && atoi(argv[2]) < MOST_ROWS) n_row = atoi(argv[2]);
  struct bench b = {.path = device->path,
                    .logits = malloc((size_t)MOST_ROWS * MOST_VOCAB * sizeof(float)),
                    .scratch = aligned_alloc(64, (sampler_scratch_bytes(MOST_VOCAB) + 63) / 64 * 64),
                    .draw = managed(MOST_ROWS * sizeof *b.draw),
                    .results = managed(sizeof *b.results),
                    .last = managed(MOST_ROWS * sizeof *b.last),
                    .rules = managed(MOST_ROWS * sizeof *b.rules),
                    .room = managed(ROOM)};
  *b.results =
      (struct cuda_results){managed(MOST_ROWS * 4), managed(MOST_ROWS * 4), managed(MOST_ROWS * TOP_LOGPROBS * 8)};
  check(cudaMalloc((void **)&b.on_device, (size_t)MOST_ROWS * MOST_VOCAB * sizeof(float)), "memory");
  check(cudaMalloc((void **)&b.rows, (size_t)CUDA_ROOM_ROWS * 2 * MOST_VOCAB * sizeof(float)), "memory");
  for (size_t v = 0; v < sizeof vocabs / sizeof *vocabs && vocabs[v] <= most; v++) {
    int vocab = vocabs[v], wrong = 0;
    logits_fill(b.logits, n_row, vocab);
    check(cudaMemcpy(b.on_device, b.logits, (size_t)n_row * (size_t)vocab * sizeof(float), cudaMemcpyHostToDevice),
          "copy");
    if (!b.path->sample_prepare(vocab)) die("prepare", cudaGetLastError());
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
      if (cases[c].sampling.target < vocab && (cases[c].rules == NO_RULES || b.path->sample_rules(vocab)))
        wrong += case_run(&b, (int)c, vocab);
    if (vocab == 128256) times_print(&b, vocab);
    wrong += vocab >= 1000 && n_row >= 4 ? bad_run(&b, vocab) : 0;
    printf("vocab %d: %d of %d draws are not the sampler's\n", vocab, wrong,
           n_row * (int)(sizeof cases / sizeof *cases));
    failed += wrong;
  }
  cuda_close(device);
  return failed > 0;
}
