/* spate embed: the vectors of texts, or their labels: one text a line of standard input, or those of the command line.
 * Texts are at the engine some hundred at once, and their numbers leave in the order of the texts. */
#include "base/buffer.h"
#include "base/json.h"
#include "base/limits.h"
#include "cli/command.h"

#include <stdlib.h>

enum { AT_ONCE = 256, LINE_BYTES_MAX = 16 << 20, TAKE_AT_ONCE = 16 };

/* A text that is at the engine, or whose numbers wait for those of the texts before it. */
struct embed_place {
  uint64_t id;
  float *numbers; /* owned; NULL: they have not come */
  int n_number, tokens;
};

struct embed_run {
  const struct settings *settings;
  spate_engine *engine;
  spate_inbox *inbox;
  int task;
  struct embed_place place[AT_ONCE]; /* of text i: i % AT_ONCE */
  uint64_t first, next;              /* texts: the oldest that is not printed, the one to come */
  char *line;
  size_t room; /* of line */
  spate_error error;
};

/* --- printing ----------------------------------------------------------------------------------------------------- */

static void numbers_print(const struct embed_place *place, const char *separator) {
  for (int i = 0; i < place->n_number; i++) printf("%s%.9g", i ? separator : "", (double)place->numbers[i]);
}

static void label_print(const struct embed_run *run, const struct embed_place *place) {
  struct buffer name;
  int best = 0;
  for (int i = 1; i < place->n_number; i++)
    if (place->numbers[i] > place->numbers[best]) best = i;
  const char *label = spate_label(run->engine, best);
  buffer_init(&name, LIMIT_CONFIG_BYTES);
  json_write_string(&name, slice_text(label ? label : ""));
  printf("\"label\":%.*s,\"probs\":[", (int)name.size, name.data ? name.data : "");
  buffer_release(&name);
}

static void place_print(const struct embed_run *run, const struct embed_place *place) {
  const char *format = run->settings->embed_format;
  if (format && strcmp(format, "plain") == 0) {
    numbers_print(place, " ");
    printf("\n");
    return;
  }
  printf("{\"index\":%llu,", (unsigned long long)run->first);
  if (run->task == SPATE_TASK_CLASSIFY)
    label_print(run, place);
  else
    printf("\"embedding\":[");
  numbers_print(place, ",");
  printf("],\"tokens\":%d}\n", place->tokens);
}

/* --- the engine --------------------------------------------------------------------------------------------------- */

static bool event_take(struct embed_run *run, const spate_event *event) {
  uint64_t text = run->first;
  while (text < run->next && run->place[text % AT_ONCE].id != event->id) text++;
  struct embed_place *place = &run->place[text % AT_ONCE];
  if (event->kind == SPATE_FAILED) {
    snprintf(run->error.text, sizeof run->error.text, "Text %llu: %.*s", (unsigned long long)text + 1,
             (int)event->text_size, event->text);
    return false;
  }
  place->numbers = calloc((size_t)event->n_numbers + 1, sizeof *place->numbers);
  if (!place->numbers) {
    run->error = (spate_error){SPATE_MEMORY, "Out of memory for a vector."};
    return false;
  }
  memcpy(place->numbers, event->numbers, (size_t)event->n_numbers * sizeof *place->numbers);
  place->n_number = event->n_numbers;
  place->tokens = event->prompt_tokens;
  return true;
}

/* Waits for numbers, and prints those whose turn it is. */
static bool events_take(struct embed_run *run) {
  spate_event events[TAKE_AT_ONCE];
  int count = spate_inbox_take(run->inbox, events, TAKE_AT_ONCE, -1);
  for (int i = 0; i < count; i++)
    if (!event_take(run, &events[i])) return false;
  for (; run->first < run->next && run->place[run->first % AT_ONCE].numbers; run->first++) {
    struct embed_place *place = &run->place[run->first % AT_ONCE];
    place_print(run, place);
    free(place->numbers);
    place->numbers = NULL;
  }
  return true;
}

/* Waits for room first, where there is none. */
static bool text_add(struct embed_run *run, const char *text, size_t size) {
  const struct settings *s = run->settings;
  spate_embed_request request;
  spate_embed_request_init(&request);
  request.text = text;
  request.text_size = size;
  request.dimensions = s->dimensions;
  request.truncate = s->truncate;
  request.prompt_name = s->prompt_name;
  request.again = true;
  while (run->next - run->first == AT_ONCE)
    if (!events_take(run)) return false;
  for (;;) {
    uint64_t id = spate_embed(run->engine, run->inbox, &request, &run->error);
    if (id) {
      run->place[run->next++ % AT_ONCE].id = id;
      return true;
    }
    if (run->error.code != SPATE_BUSY || run->first == run->next || !events_take(run)) return false;
  }
}

/* --- texts -------------------------------------------------------------------------------------------------------- */

/* One text a line, of any number of lines. */
static bool lines_add(struct embed_run *run) {
  for (ssize_t size; (size = getline(&run->line, &run->room, stdin)) >= 0;) {
    if (size > LINE_BYTES_MAX) {
      run->error = (spate_error){SPATE_LIMIT, "A line of standard input is longer than 16 MiB."};
      return false;
    }
    if (size > 0 && run->line[size - 1] == '\n') size--;
    if (!text_add(run, run->line, (size_t)size)) return false;
  }
  if (feof(stdin)) return true;
  run->error = (spate_error){SPATE_IO, "Standard input cannot be read to its end."};
  return false;
}

static bool texts_add(struct embed_run *run) {
  const struct settings *s = run->settings;
  if (s->n_more == 0) return lines_add(run);
  for (int i = 0; i < s->n_more; i++)
    if (!text_add(run, s->more[i], strlen(s->more[i]))) return false;
  return true;
}

static bool run_all(struct embed_run *run) {
  spate_engine_info info = {.size = sizeof info};
  spate_info(run->engine, &info);
  run->task = info.task;
  if (info.task == SPATE_TASK_GENERATE) {
    snprintf(run->error.text, sizeof run->error.text,
             "The model %.100s generates text; it makes no vectors: see spate generate.", info.name);
    return false;
  }
  run->inbox = spate_inbox_new(run->engine, &run->error);
  if (!run->inbox || !texts_add(run)) return false;
  while (run->first < run->next)
    if (!events_take(run)) return false;
  return true;
}

int command_embed(const struct settings *settings) {
  struct embed_run *run = calloc(1, sizeof *run);
  if (!run) return command_fail("Out of memory.");
  run->settings = settings;
  run->engine = command_open(settings);
  int code = run->engine ? 0 : 1;
  if (run->engine && !run_all(run)) code = command_fail(run->error.text);
  spate_inbox_free(run->inbox);
  spate_close(run->engine);
  for (int i = 0; i < AT_ONCE; i++) free(run->place[i].numbers);
  free(run->line);
  free(run);
  return code;
}
