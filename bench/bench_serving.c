/* A closed loop of requests through spate.h, without HTTP: what a server would do if sockets and JSON cost nothing.
 * Prompts begin differently, so that no prefix is shared. With as many at once as there are requests the queue is full
 * from the start, as in offline benches.
 *
 *   usage: bench_serving MODEL|ENGINE [-t THREADS] [-k KV_CACHE_DTYPE] [-p PROMPT] [-a ANSWER] [-c AT_ONCE] [-n
 * REQUESTS] (prompts and answers of 128 tokens, 32 at once, 96 requests unless given) */
#include "base/clock.h"
#include "spate.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { EVENTS = 256, LEAST_TOKEN = 1000, TOKENS = 20000 };

struct asked {
  uint64_t id, at_us, first_us, last_us;
};

struct load {
  spate_engine *engine;
  spate_inbox *inbox;
  const char *kv_cache_dtype; /* NULL: the engine's */
  int prompt, answer, at_once, requests, threads;
  int n_asked, n_ended, n_gap;
  struct asked *asked; /* [requests] */
  int32_t *tokens;     /* [prompt] */
  uint64_t *gap_us;    /* [requests × answer] between events of a request */
};

static _Noreturn void die(const char *sentence) {
  fprintf(stderr, "bench_serving: %s\n", sentence);
  exit(1);
}

static void ask(struct load *load) {
  spate_error error;
  spate_request request;
  int n = load->n_asked++;
  spate_request_init(load->engine, &request);
  for (int i = 0; i < load->prompt; i++)
    load->tokens[i] = LEAST_TOKEN + (i == 0 ? n % TOKENS : (int)(((int64_t)i * 37 + n) % TOKENS));
  request.tokens = load->tokens, request.n_token = load->prompt;
  request.max_tokens = load->answer, request.temperature = 0, request.ignore_eos = true;
  load->asked[n].at_us = clock_us();
  load->asked[n].id = spate_submit(load->engine, load->inbox, &request, &error);
  if (!load->asked[n].id) die(error.text);
}

static void event_take(struct load *load, const spate_event *event) {
  struct asked *asked = load->asked;
  while (asked->id != event->id) asked++;
  if (event->kind == SPATE_FAILED) die(event->text);
  uint64_t now = clock_us();
  if (!asked->first_us)
    asked->first_us = now;
  else if (load->n_gap < load->requests * load->answer)
    load->gap_us[load->n_gap++] = now - asked->last_us;
  asked->last_us = now;
  if (event->kind != SPATE_DONE) return;
  load->n_ended++;
  if (load->n_asked < load->requests) ask(load);
}

static void options_take(struct load *load, int argc, char **argv) {
  int option, *number;
  while ((option = getopt(argc, argv, "t:k:p:a:c:n:")) != -1) {
    switch (option) {
    case 'k': load->kv_cache_dtype = optarg; continue;
    case 't': number = &load->threads; break;
    case 'p': number = &load->prompt; break;
    case 'a': number = &load->answer; break;
    case 'c': number = &load->at_once; break;
    case 'n': number = &load->requests; break;
    default: die("it takes -t, -p, -a, -c and -n, each with a number, and -k with a type.");
    }
    if ((*number = atoi(optarg)) <= 0) die("numbers are above 0.");
  }
  if (optind + 1 != argc) die("it takes one model or engine.");
  if (load->at_once > load->requests) load->at_once = load->requests;
}

static void load_open(struct load *load, const char *model) {
  spate_error error;
  spate_open_options options;
  spate_open_options_init(&options);
  options.kv_cache_dtype = load->kv_cache_dtype;
  options.model = model;
  options.threads = load->threads;
  options.no_block_reuse = true;
  options.max_queue = load->at_once;
  options.max_queue_tokens = (int64_t)load->at_once * (load->prompt + load->answer);
  if (!(load->engine = spate_open(&options, &error)) || !(load->inbox = spate_inbox_new(load->engine, &error)))
    die(error.text);
  load->asked = calloc((size_t)load->requests, sizeof *load->asked);
  load->tokens = calloc((size_t)load->prompt, sizeof *load->tokens);
  load->gap_us = calloc((size_t)load->requests * (size_t)load->answer, sizeof *load->gap_us);
  if (!load->asked || !load->tokens || !load->gap_us) die("there is no memory for what it measures.");
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void times_print(const char *what, uint64_t *us, int count) {
  if (count == 0) return;
  qsort(us, (size_t)count, sizeof *us, compare);
  printf(", %s p50 %.1f p99 %.1f ms", what, (double)us[count / 2] / 1e3, (double)us[(int64_t)count * 99 / 100] / 1e3);
}

static void load_print(struct load *load, double seconds) {
  uint64_t *first = calloc((size_t)load->requests, sizeof *first);
  if (!first) die("there is no memory for what it measured.");
  for (int i = 0; i < load->requests; i++) first[i] = load->asked[i].first_us - load->asked[i].at_us;
  printf("without HTTP, %d/%d: %d requests, %d at once: %.1f tok/s", load->prompt, load->answer, load->requests,
         load->at_once, (double)load->requests * load->answer / seconds);
  times_print("first token", first, load->requests);
  times_print("between", load->gap_us, load->n_gap);
  printf("\n");
  free(first);
}

int main(int argc, char **argv) {
  struct load load = {.prompt = 128, .answer = 128, .at_once = 32, .requests = 96};
  options_take(&load, argc, argv);
  load_open(&load, argv[optind]);
  uint64_t begin = clock_us();
  for (int i = 0; i < load.at_once; i++) ask(&load);
  while (load.n_ended < load.requests) {
    spate_event events[EVENTS];
    int count = spate_inbox_take(load.inbox, events, EVENTS, -1);
    for (int i = 0; i < count; i++) event_take(&load, &events[i]);
  }
  load_print(&load, (double)(clock_us() - begin) / 1e6);
  spate_inbox_free(load.inbox);
  spate_close(load.engine);
  free(load.asked);
  free(load.tokens);
  free(load.gap_us);
  return 0;
}
