/* A closed loop of 32 requests through spate.h, without HTTP: what the server's figures in serving_vs_llamacpp.sh would
 * be if sockets and JSON cost nothing. Prompts of 128 tokens that begin differently, answers of 128.
 *
 *   usage: bench_serving MODEL|ENGINE [THREADS] */
#include "base/clock.h"
#include "spate.h"

#include <stdio.h>
#include <stdlib.h>

enum { CLIENTS = 32, ROUNDS = 3, PROMPT = 128, ANSWER = 128, EVENTS = 64 };

struct load {
  spate_engine *engine;
  spate_inbox *inbox;
  int n_asked, n_ended, n_first;
  uint64_t id[CLIENTS * ROUNDS], asked_us[CLIENTS * ROUNDS], first_us[CLIENTS * ROUNDS];
};

static _Noreturn void die(const char *sentence) {
  fprintf(stderr, "bench_serving: %s\n", sentence);
  exit(1);
}

static void ask(struct load *load) {
  int32_t tokens[PROMPT];
  spate_error error;
  spate_request request;
  int n = load->n_asked++;
  spate_request_init(load->engine, &request);
  for (int i = 0; i < PROMPT; i++) tokens[i] = 1000 + (i == 0 ? n : (i * 37 + n) % 20000);
  request.tokens = tokens, request.n_token = PROMPT;
  request.max_tokens = ANSWER, request.temperature = 0, request.ignore_eos = true;
  load->asked_us[n] = clock_us();
  load->id[n] = spate_submit(load->engine, load->inbox, &request, &error);
  if (!load->id[n]) die(error.text);
}

static void event_take(struct load *load, const spate_event *event) {
  int n = 0;
  while (load->id[n] != event->id) n++;
  if (load->first_us[n] == 0) load->first_us[n] = clock_us();
  if (event->kind == SPATE_FAILED) die(event->text);
  if (event->kind != SPATE_DONE) return;
  load->n_ended++;
  if (load->n_asked < CLIENTS * ROUNDS) ask(load);
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  static struct load load;
  spate_error error;
  spate_open_options options;
  spate_open_options_init(&options);
  if (argc < 2) die("usage: bench_serving MODEL|ENGINE [THREADS]");
  options.model = argv[1];
  options.threads = argc > 2 ? atoi(argv[2]) : 0;
  if (!(load.engine = spate_open(&options, &error)) || !(load.inbox = spate_inbox_new(load.engine, &error)))
    die(error.text);
  uint64_t begin = clock_us();
  for (int i = 0; i < CLIENTS; i++) ask(&load);
  while (load.n_ended < CLIENTS * ROUNDS) {
    spate_event events[EVENTS];
    int count = spate_inbox_take(load.inbox, events, EVENTS, -1);
    for (int i = 0; i < count; i++) event_take(&load, &events[i]);
  }
  double seconds = (double)(clock_us() - begin) / 1e6;
  for (int i = 0; i < CLIENTS * ROUNDS; i++) load.first_us[i] -= load.asked_us[i];
  qsort(load.first_us, CLIENTS * ROUNDS, sizeof *load.first_us, compare);
  printf("without HTTP: %d requests, %d at once: %.1f tok/s, first token p50 %.0f p99 %.0f ms\n", CLIENTS * ROUNDS,
         CLIENTS, CLIENTS * ROUNDS * ANSWER / seconds, (double)load.first_us[CLIENTS * ROUNDS / 2] / 1e3,
         (double)load.first_us[CLIENTS * ROUNDS * 99 / 100] / 1e3);
  spate_inbox_free(load.inbox);
  spate_close(load.engine);
  return 0;
}
