/* Plans, drawn or read. */
#include "load/load_plan.h"

#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "load/load_draw.h"

#include <math.h>
#include <stdlib.h>

enum { LENGTHS, ARRIVALS }; /* streams of the seed; those from PROMPTS on are load_run.c's */

const char *const load_end_name[LOAD_END_COUNT] = {"not_sent", "ok",      "connect", "busy",    "http_status",
                                                   "reported", "cut_off", "garbage", "timeout", "stopped"};

static const double us = 1e6; /* in a second */

static bool requests_new(struct load_plan *plan, size_t count, struct error *error) {
  *plan = (struct load_plan){.count = (int)count};
  if (count == 0 || count > LIMIT_LOAD_REQUESTS)
    return error_set(error, ERROR_LIMIT, "A load of %zu requests, expected 1 to %d.", count, LIMIT_LOAD_REQUESTS);
  plan->request = calloc(count, sizeof *plan->request);
  if (!plan->request) return error_set(error, ERROR_MEMORY, "There is no memory for %zu requests.", count);
  for (size_t i = 0; i < count; i++)
    plan->request[i] = (struct load_request){.client = -1, .after = -1, .prompt_tokens = -1, .output_tokens = -1};
  return true;
}

void load_plan_release(struct load_plan *plan) {
  for (int i = 0; plan->request && i < plan->count; i++) free(plan->request[i].event_us);
  free(plan->request);
  json_decref(plan->file);
  *plan = (struct load_plan){0};
}

bool load_plan_makes_prompts(const struct load_plan *plan) {
  for (int i = 0; i < plan->count; i++)
    if (!plan->request[i].prompt.data) return true;
  return false;
}

bool load_length_parse(const char *text, struct load_length *length) {
  char *end;
  length->mean = strtod(text, &end);
  length->spread = 0;
  if (end == text) return false;
  if (*end == ':') {
    const char *spread = end + 1;
    length->spread = strtod(spread, &end);
    if (end == spread || !(length->spread > 0 && length->spread <= 3)) return false;
  }
  bool whole = length->spread > 0 || length->mean == floor(length->mean);
  return *end == '\0' && whole && length->mean >= 1 && length->mean <= LIMIT_LOAD_TOKENS;
}

bool load_plan_draw(struct load_plan *plan, const struct load_shape *shape, int clients, double rate,
                    struct error *error) {
  struct load_dice lengths = load_dice_make(shape->seed, LENGTHS), arrivals = load_dice_make(shape->seed, ARRIVALS);
  double at = 0;
  if (!requests_new(plan, shape->requests > 0 ? (size_t)shape->requests : 0, error)) return false;
  plan->clients = clients;
  plan->rate = clients ? 0 : rate;
  for (int i = 0; i < plan->count; i++) {
    struct load_request *request = &plan->request[i];
    request->input = load_draw_length(&lengths, &shape->input);
    request->output = load_draw_length(&lengths, &shape->output);
    request->first = true;
    if (clients) continue;
    if (i > 0) at += shape->even ? 1 / rate : load_draw_gap(&arrivals, rate);
    request->due_us = (uint64_t)(at * us);
  }
  return true;
}

/* --- files -------------------------------------------------------------------------------------------------------- */

/* A whole number from least to most; absent: what *value has. */
static bool integer_take(const json_t *line, const char *name, int least, int most, int *value) {
  const json_t *given = json_object_get(line, name);
  if (!given) return true;
  json_int_t number = json_integer_value(given);
  if (!json_is_integer(given) || number < least || number > most) return false;
  *value = (int)number;
  return true;
}

static bool line_take(struct load_request *request, const json_t *line, struct error *error) {
  const json_t *prompt = json_object_get(line, "prompt"), *at = json_object_get(line, "at");
  double seconds = at ? json_number_value(at) : 0;
  bool sound = json_is_object(line) && (!at || (json_is_number(at) && seconds >= 0 && seconds <= 1e6)) &&
               (prompt ? json_is_string(prompt) : json_object_get(line, "input_tokens") != NULL) &&
               integer_take(line, "input_tokens", 1, LIMIT_LOAD_TOKENS, &request->input) &&
               integer_take(line, "max_tokens", 1, LIMIT_LOAD_TOKENS, &request->output) &&
               integer_take(line, "client", 0, LIMIT_LOAD_CLIENTS - 1, &request->client) && request->output > 0;
  if (!sound)
    return error_set(error, ERROR_FORMAT,
                     "expected an object with \"prompt\" or \"input_tokens\", \"max_tokens\" and, if wanted, \"at\" in "
                     "seconds and \"client\" below %d.",
                     LIMIT_LOAD_CLIENTS);
  if (prompt) request->prompt = json_slice(prompt);
  request->due_us = (uint64_t)(seconds * us);
  return true;
}

/* Each line of text as a value, in one array. Empty lines are none. */
static json_t *lines_parse(struct slice text, struct error *error) {
  json_t *lines = json_array();
  if (!lines) error_set(error, ERROR_MEMORY, "there is no memory for it.");
  for (size_t number = 1; lines && text.size; number++) {
    const uint8_t *end = memchr(text.data, '\n', text.size);
    size_t size = end ? (size_t)(end - text.data) : text.size;
    json_t *line = size ? json_parse(slice_make(text.data, size), error) : NULL;
    if (size && (!line || json_array_append_new(lines, line) != 0)) {
      error_prefix(error, "line %zu: ", number);
      json_decref(lines);
      return NULL;
    }
    size_t used = end ? size + 1 : size;
    text = slice_make(text.data + used, text.size - used);
  }
  return lines;
}

/* What each client does after what. */
static void clients_chain(struct load_plan *plan, int last[LIMIT_LOAD_CLIENTS]) {
  for (int i = 0; i < LIMIT_LOAD_CLIENTS; i++) last[i] = -1;
  for (int i = 0; i < plan->count; i++) {
    int client = plan->request[i].client;
    plan->request[i].first = client < 0 || last[client] < 0;
    if (client < 0) continue;
    if (last[client] >= 0) plan->request[last[client]].after = i;
    last[client] = i;
  }
}

static bool lines_take(struct load_plan *plan, json_t *lines, struct error *error) {
  size_t count = json_array_size(lines);
  int *last = malloc(LIMIT_LOAD_CLIENTS * sizeof *last);
  bool done = last || error_set(error, ERROR_MEMORY, "There is no memory for clients.");
  done = done && requests_new(plan, count, error);
  plan->file = lines;
  for (size_t i = 0; done && i < count; i++)
    done = line_take(&plan->request[i], json_array_get(lines, i), error) || error_prefix(error, "request %zu: ", i + 1);
  if (done) clients_chain(plan, last);
  free(last);
  return done;
}

bool load_plan_read(struct load_plan *plan, const char *path, struct error *error) {
  struct file file;
  *plan = (struct load_plan){0};
  if (!file_open(&file, path, error)) return false;
  bool done =
      file.size <= LIMIT_LOAD_TRACE_BYTES ||
      error_set(error, ERROR_LIMIT, "it has %zu bytes, expected at most %d.", file.size, LIMIT_LOAD_TRACE_BYTES);
  json_t *lines = done ? lines_parse(slice_make(file.data, file.size), error) : NULL;
  done = lines && lines_take(plan, lines, error);
  file_close(&file);
  if (done) return true;
  load_plan_release(plan);
  return error_prefix(error, "%s: ", path);
}
