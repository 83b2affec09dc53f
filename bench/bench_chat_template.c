/* How long a chat template takes to render a conversation: bench_chat_template CONVERSATION TEMPLATE...
 *
 * CONVERSATION is a JSON object {messages, tools, variables}, as tests/fixtures/text/chat/conversations.json holds
 * them; TEMPLATE a file of Jinja. Prints, for each template, the median µs of processor time of a rendering, beside the
 * floor (copying what it writes) and what compiling it takes once. bench/templates_vs_jinja2.py runs it beside jinja2.
 */
#include "base/file.h"
#include "base/json.h"
#include "text/chat_template.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REPEATS = 401 };

static double cpu_microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return 1e6 * (double)now.tv_sec + 1e-3 * (double)now.tv_nsec;
}

static int compare(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

static double median(double times[REPEATS]) {
  qsort(times, REPEATS, sizeof *times, compare);
  return times[REPEATS / 2];
}

static struct chat_input input_of(const json_t *conversation) {
  return (struct chat_input){.messages = json_object_get(conversation, "messages"),
                             .tools = json_object_get(conversation, "tools"),
                             .variables = json_object_get(conversation, "variables"),
                             .add_generation_prompt = true,
                             .bos = slice_text("<s>"),
                             .eos = slice_text("</s>"),
                             .now = {.tm_year = 124, .tm_mon = 6, .tm_mday = 26}};
}

/* The median µs of copying the text that was written. */
static double copy_floor(struct slice text) {
  double times[REPEATS];
  uint8_t *copy = malloc(text.size + 1);
  for (int i = 0; copy && i < REPEATS; i++) {
    double start = cpu_microseconds();
    memcpy(copy, text.data, text.size);
    __asm__ volatile("" : : "r"(copy) : "memory");
    times[i] = cpu_microseconds() - start;
  }
  free(copy);
  return median(times);
}

static bool bench(const char *path, const json_t *conversation, struct error *error) {
  double times[REPEATS], compiling[REPEATS], floor = 0;
  struct file file;
  struct chat_text text;
  const struct chat_input input = input_of(conversation);
  size_t size = 0;
  if (!file_open(&file, path, error)) return false;
  bool done = true;
  for (int i = 0; done && i < REPEATS; i++) {
    chat_text_init(&text);
    double start = cpu_microseconds();
    struct chat_template *template = chat_template_open(slice_make(file.data, file.size), error);
    compiling[i] = cpu_microseconds() - start;
    start = cpu_microseconds();
    done = template && chat_template_render(template, &input, &text, error);
    times[i] = cpu_microseconds() - start;
    size = text.text.size;
    if (done && i + 1 == REPEATS) floor = copy_floor(buffer_slice(&text.text));
    chat_template_close(template);
    chat_text_release(&text);
  }
  file_close(&file);
  if (done)
    printf("%s: %.1f us for %zu bytes (copying them %.2f us; compiling once %.0f us)\n", path, median(times), size,
           floor, median(compiling));
  return done;
}

int main(int argc, char **argv) {
  struct error error = {0};
  if (argc < 3) {
    fprintf(stderr, "usage: bench_chat_template CONVERSATION TEMPLATE...\n");
    return 2;
  }
  mallopt(M_TRIM_THRESHOLD, 2 << 20), mallopt(M_MMAP_THRESHOLD, 256 << 10); /* as cli/main.c does */
  json_t *conversation = json_read(argv[1], 1 << 24, &error);
  if (!conversation) fprintf(stderr, "%s\n", error.text);
  bool done = conversation != NULL;
  for (int i = 2; done && i < argc; i++) {
    error = (struct error){0};
    if (!bench(argv[i], conversation, &error)) printf("%s: %s\n", argv[i], error.text);
    fflush(stdout);
  }
  json_decref(conversation);
  return done ? 0 : 1;
}
