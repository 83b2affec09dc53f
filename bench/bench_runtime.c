/* What the runtime costs beside the network: steps of 256 sequences on the null backend, which computes nothing, so
 * that all of a step's time is the schedule, detokenizing, stop strings, metrics and the inbox. Half of the requests
 * have stop strings and half ask for log-probabilities. The events are taken by another thread, as a server's loop
 * would.
 *
 *   usage: bench_runtime MODEL [SEQUENCES [TOKENS]]        promised: at most 50 µs a step at 256 sequences */
#include "base/clock.h"
#include "spate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SEQUENCES_MAX = 1024, PROMPT = 16, EVENTS = 256, ROUNDS = 7 };

struct load {
  spate_engine *engine;
  spate_inbox *inbox;
  int n_sequence, n_token;
};

static _Noreturn void die(const char *sentence) {
  fprintf(stderr, "bench_runtime: %s\n", sentence);
  exit(1);
}

static spate_engine *engine_open(const char *model, int n_sequence, int n_token) {
  spate_error error;
  spate_build_options build;
  spate_open_options options;
  spate_build_options_init(&build);
  build.max_batch_size = n_sequence;
  build.max_num_tokens = n_sequence * PROMPT;
  build.max_seq_len = PROMPT + n_token;
  spate_open_options_init(&options);
  options.model = model;
  options.build = &build;
  options.backend = "null";
  options.threads = 1;
  spate_engine *engine = spate_open(&options, &error);
  if (!engine) die(error.text);
  return engine;
}

static void ask(const struct load *load, int index) {
  static const char *const stop[] = {"never to be seen", "\n\nUser:", "###"};
  int32_t tokens[PROMPT];
  spate_error error;
  spate_request request;
  spate_request_init(load->engine, &request);
  for (int i = 0; i < PROMPT; i++) tokens[i] = 1000 + index * PROMPT + i;
  request.tokens = tokens;
  request.n_token = PROMPT;
  request.max_tokens = load->n_token;
  request.ignore_eos = true;
  request.stop = stop;
  request.n_stop = index % 2 ? 3 : 0;
  request.logprobs = index % 4 / 2 == 1;
  if (!spate_submit(load->engine, load->inbox, &request, &error)) die(error.text);
}

static double cpu_us(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

/* Sum of the tokens that all sequences have told. */
struct progress {
  uint64_t id[SEQUENCES_MAX];
  int generated[SEQUENCES_MAX];
  long told;
  int n, n_done;
};

static void event_take(struct progress *p, const spate_event *event) {
  int i = 0;
  while (i < p->n && p->id[i] != event->id) i++;
  if (i == p->n) p->id[p->n++] = event->id;
  p->told += event->generated_tokens - p->generated[i];
  p->generated[i] = event->generated_tokens;
  p->n_done += event->kind == SPATE_DONE;
  if (event->kind == SPATE_FAILED) die(event->text);
}

static double others_cpu_us(void) { return cpu_us(CLOCK_PROCESS_CPUTIME_ID) - cpu_us(CLOCK_THREAD_CPUTIME_ID); }

/* Microseconds of the clock, and of the processor without this thread, for each step of all sequences. */
static void round_run(const struct load *load, double *wall, double *cpu) {
  static struct progress progress;
  progress = (struct progress){0};
  double begin = 0, begin_cpu = 0;
  long begin_told = 0, all = (long)load->n_sequence * load->n_token;
  for (int i = 0; i < load->n_sequence; i++) ask(load, i);
  while (progress.n_done < load->n_sequence) {
    spate_event events[EVENTS];
    int count = spate_inbox_take(load->inbox, events, EVENTS, -1);
    for (int i = 0; i < count; i++) event_take(&progress, &events[i]);
    if (begin > 0 || progress.n < load->n_sequence) continue;
    begin = (double)clock_us();
    begin_cpu = others_cpu_us();
    begin_told = progress.told;
  }
  double steps = (double)(all - begin_told) / load->n_sequence;
  *wall = ((double)clock_us() - begin) / steps;
  *cpu = (others_cpu_us() - begin_cpu) / steps;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  if (argc < 2) die("usage: bench_runtime MODEL [SEQUENCES [TOKENS]]");
  spate_error error;
  struct load load = {.n_sequence = argc > 2 ? atoi(argv[2]) : 256, .n_token = argc > 3 ? atoi(argv[3]) : 500};
  double wall[ROUNDS], cpu[ROUNDS];
  if (load.n_sequence < 1 || load.n_sequence > SEQUENCES_MAX || load.n_token < 2)
    die("1 to 1024 sequences, 2 tokens or more");
  load.engine = engine_open(argv[1], load.n_sequence, load.n_token);
  load.inbox = spate_inbox_new(load.engine, &error);
  if (!load.inbox) die(error.text);
  for (int i = 0; i < ROUNDS; i++) round_run(&load, &wall[i], &cpu[i]);
  qsort(wall, ROUNDS, sizeof *wall, compare);
  qsort(cpu, ROUNDS, sizeof *cpu, compare);
  printf("%d sequences: a step takes %.1f us of the step thread's time (%.1f to %.1f), %.1f us of the clock; promised: "
         "50 at "
         "256 sequences\n",
         load.n_sequence, cpu[ROUNDS / 2], cpu[0], cpu[ROUNDS - 1], wall[ROUNDS / 2]);
  spate_inbox_free(load.inbox);
  spate_close(load.engine);
  return 0;
}
