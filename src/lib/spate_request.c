/* spate.h: requests, events, inboxes. */
#include "lib/public_options.h"
#include "lib/spate_state.h"

#include <stdlib.h>
#include <sys/random.h>

enum { DEFAULT_MAX_TOKENS = 256 };

void spate_request_defaults(const spate_engine *engine, spate_request *request) {
  const struct engine_generation *defaults = &engine->loaded->file.facts->generation;
  int length = engine->loaded->limits.length;
  spate_request all = {.size = request->size,
                       .max_tokens = length < DEFAULT_MAX_TOKENS ? length : DEFAULT_MAX_TOKENS,
                       .temperature = defaults->temperature,
                       .top_p = defaults->top_p,
                       .top_k = defaults->top_k,
                       .min_p = defaults->min_p,
                       .typical_p = defaults->typical_p,
                       .repetition_penalty = defaults->repetition_penalty,
                       .n = 1,
                       .length_penalty = 1};
  memcpy(request, &all, request->size < sizeof all ? request->size : sizeof all);
}

static uint64_t seed_draw(void) {
  uint64_t seed = 0;
  ssize_t size = getrandom(&seed, sizeof seed, 0);
  (void)size; /* does not fail for 8 bytes once the system is up */
  return seed;
}

static bool texts_check(const char *const *texts, int count, int most) {
  bool good = count >= 0 && count <= most && (texts || !count);
  for (int i = 0; good && i < count; i++) good = texts[i] != NULL;
  return good;
}

/* What is read here; the runtime checks the rest. */
static bool arrays_check(const spate_request *request, struct error *error) {
  if (!texts_check(request->bad_words, request->n_bad_words, LIMIT_BAD_WORDS))
    return error_set(error, ERROR_INVALID, "%d bad words were given; expected 0 to %d, and the texts.",
                     request->n_bad_words, LIMIT_BAD_WORDS);
  bool named = request->n_loras >= 0 && request->n_loras <= ROW_LORAS && (request->loras || !request->n_loras);
  for (int i = 0; named && i < request->n_loras; i++) named = request->loras[i].name != NULL;
  if (!named)
    return error_set(error, ERROR_INVALID, "%d adapters were given; expected 0 to %d, and their names.",
                     request->n_loras, ROW_LORAS);
  if (texts_check(request->stop, request->n_stop, LIMIT_STOP_STRINGS) && request->n_token >= 0 &&
      (request->tokens || !request->n_token))
    return true;
  return error_set(
      error, ERROR_INVALID,
      "%d stop strings and %d tokens were given; expected 0 to %d, 0 or more, and the arrays that hold them.",
      request->n_stop, request->n_token, LIMIT_STOP_STRINGS);
}

_Static_assert(sizeof(spate_logit_bias) == sizeof(struct token_bias) &&
                   offsetof(spate_logit_bias, bias) == offsetof(struct token_bias, bias),
               "one layout of biases");
_Static_assert(sizeof(spate_logprob) == sizeof(struct token_logprob) &&
                   offsetof(spate_logprob, logprob) == offsetof(struct token_logprob, logprob),
               "one layout of log-probabilities");

_Static_assert(sizeof((spate_event *)0)->prompt_end == sizeof((struct inbox_event *)0)->prompt_end,
               "one end of prompts");

static struct sampling sampling_of(const spate_request *request) {
  return (struct sampling){.temperature = request->temperature,
                           .top_p = request->top_p,
                           .min_p = request->min_p,
                           .typical_p = request->typical_p,
                           .top_k = request->top_k,
                           .n_top = request->top_logprobs,
                           .want_logprob = request->logprobs,
                           .seed = request->has_seed ? request->seed : seed_draw()};
}

static struct rule_params rules_of(const spate_request *request, const struct slice *bad_words) {
  return (struct rule_params){.rules = {.repetition_penalty = request->repetition_penalty,
                                        .frequency_penalty = request->frequency_penalty,
                                        .presence_penalty = request->presence_penalty,
                                        .min_tokens = request->min_tokens,
                                        .bias = (const struct token_bias *)request->logit_bias,
                                        .n_bias = request->n_logit_bias,
                                        .allowed = request->allowed_token_ids,
                                        .n_allowed = request->n_allowed_token_ids},
                              .bad_word = bad_words,
                              .n_bad_word = request->n_bad_words,
                              .stop_token = request->stop_token_ids,
                              .n_stop_token = request->n_stop_token_ids,
                              .ignore_end = request->ignore_eos};
}

static int answers_of(const spate_request *request) { return request->n == 0 ? 1 : request->n; }

static int beams_of(const spate_request *request) {
  if (!request->use_beam_search) return 0;
  return request->beam_width == 0 ? answers_of(request) : request->beam_width;
}

static bool early_stop_of(const spate_request *request, enum early_stop *stop, struct error *error) {
  switch (request->early_stopping) {
  case SPATE_EARLY_STOPPING_FALSE: *stop = EARLY_STOP_LIKELY; return true;
  case SPATE_EARLY_STOPPING_TRUE: *stop = EARLY_STOP_AT_ONCE; return true;
  case SPATE_EARLY_STOPPING_NEVER: *stop = EARLY_STOP_CERTAIN; return true;
  }
  return error_set(error, ERROR_INVALID, "early_stopping is %d, expected one of spate_early_stopping.",
                   (int)request->early_stopping);
}

static const struct adapter_choice *adapters_of(const spate_request *request, struct adapter_choice out[ROW_LORAS]) {
  for (int i = 0; i < request->n_loras; i++)
    out[i] = (struct adapter_choice){slice_text(request->loras[i].name), request->loras[i].scale};
  return out;
}

_Static_assert(LIMIT_REQUEST_IMAGES == 64, "spate.h names the limit");

static bool images_of(const spate_request *request, struct image_source out[LIMIT_REQUEST_IMAGES],
                      struct error *error) {
  bool given = request->n_images >= 0 && (request->images || !request->n_images);
  for (int i = 0; given && i < request->n_images && i < LIMIT_REQUEST_IMAGES; i++) {
    const spate_image *image = &request->images[i];
    given = image->data != NULL;
    out[i] = (struct image_source){.data = slice_make(image->data, image->size),
                                   .mime = slice_text(image->mime_type && !image->is_text ? image->mime_type : ""),
                                   .text = image->is_text};
  }
  return given || error_set(error, ERROR_INVALID, "%d images were given; expected 0 or more, and their bytes.",
                            request->n_images);
}

/* A request's lists, in the words of the runtime. */
struct given_lists {
  struct slice stop[LIMIT_STOP_STRINGS], bad_words[LIMIT_BAD_WORDS];
  struct adapter_choice adapter[ROW_LORAS];
  struct image_source image[LIMIT_REQUEST_IMAGES];
  enum early_stop early_stop;
};

static bool lists_read(const spate_request *request, struct given_lists *given, struct error *error) {
  if (!arrays_check(request, error) || !images_of(request, given->image, error) ||
      !early_stop_of(request, &given->early_stop, error))
    return false;
  for (int i = 0; i < request->n_stop; i++) given->stop[i] = slice_text(request->stop[i]);
  for (int i = 0; i < request->n_bad_words; i++) given->bad_words[i] = slice_text(request->bad_words[i]);
  return true;
}

static uint64_t request_submit(spate_engine *engine, spate_inbox *inbox, const spate_request *request,
                               struct error *error) {
  struct given_lists given;
  if (!lists_read(request, &given, error)) return 0;
  struct request_params params = {.prompt = slice_make(request->prompt, request->prompt ? request->prompt_size : 0),
                                  .chat = request->chat,
                                  .tokens = request->tokens,
                                  .n_token = request->n_token,
                                  .n_answer = answers_of(request),
                                  .max_tokens = request->max_tokens,
                                  .n_beam = beams_of(request),
                                  .length_penalty = request->length_penalty,
                                  .early_stop = given.early_stop,
                                  .sampling = sampling_of(request),
                                  .rules = rules_of(request, given.bad_words),
                                  .stop = given.stop,
                                  .n_stop = request->n_stop,
                                  .show_stop = request->include_stop_str_in_output,
                                  .detokenize = (request->write_special_tokens ? DETOKENIZE_SPECIAL : 0u) |
                                                (request->write_marks ? DETOKENIZE_MARKS : 0u),
                                  .scores_prompt = request->prompt_logprobs,
                                  .n_prompt_top = request->top_prompt_logprobs,
                                  .priority = request->priority,
                                  .tenant = request->tenant,
                                  .timeout_s = request->timeout_s,
                                  .adapter = adapters_of(request, given.adapter),
                                  .n_adapter = request->n_loras,
                                  .image = given.image,
                                  .n_image = request->n_images,
                                  .cache_salt = slice_text(request->cache_salt ? request->cache_salt : "")};
  return runtime_submit(engine->runtime, inbox->inbox, &params, error);
}

uint64_t spate_submit(spate_engine *engine, spate_inbox *inbox, const spate_request *request, spate_error *error) {
  struct error detail = {0};
  spate_request copy;
  uint64_t id = request_read(engine, request, &copy, &detail) ? request_submit(engine, inbox, &copy, &detail) : 0;
  if (id == 0) error_export(&detail, error);
  return id;
}

void spate_cancel(spate_engine *engine, uint64_t id) { runtime_cancel(engine->runtime, id); }

spate_inbox *spate_inbox_new(spate_engine *engine, spate_error *error) {
  struct error detail = {0};
  struct spate_inbox *inbox = calloc(1, sizeof *inbox);
  if (!inbox) error_set(&detail, ERROR_MEMORY, "Out of memory.");
  if (inbox) {
    inbox->runtime = engine->runtime;
    inbox->inbox = runtime_inbox(engine->runtime, &detail);
    if (inbox->inbox) return inbox;
  }
  free(inbox);
  error_export(&detail, error);
  return NULL;
}

void spate_inbox_free(spate_inbox *inbox) {
  if (!inbox) return;
  runtime_inbox_close(inbox->runtime, inbox->inbox);
  free(inbox);
}

int spate_inbox_descriptor(const spate_inbox *inbox) { return inbox_descriptor(inbox->inbox); }

static spate_event event_export(const struct inbox_event *event) {
  static const spate_event_kind kind[] = {[INBOX_TEXT] = SPATE_TEXT,
                                          [INBOX_DONE] = SPATE_DONE,
                                          [INBOX_FAILED] = SPATE_FAILED,
                                          [INBOX_PROMPT] = SPATE_PROMPT};
  static const spate_finish finish[] = {[FINISH_NONE] = SPATE_FINISH_NONE,
                                        [FINISH_STOP] = SPATE_FINISH_STOP,
                                        [FINISH_LENGTH] = SPATE_FINISH_LENGTH,
                                        [FINISH_CANCELLED] = SPATE_FINISH_CANCELLED};
  spate_event out = {.id = event->request,
                     .kind = kind[event->kind],
                     .answer = event->answer,
                     .finish = finish[event->finish],
                     .text = (const char *)event->text.data,
                     .text_size = event->text.size,
                     .token = event->token,
                     .generated_tokens = event->generated,
                     .prompt_tokens = event->prompt,
                     .cached_tokens = event->cached,
                     .code = (spate_code)event->code,
                     .n_logprobs = event->n_logprob,
                     .top_logprobs = event->n_top,
                     .logprobs = (const spate_logprob *)event->logprobs,
                     .stop_string = event->stop_string,
                     .stop_token = event->stop_token};
  out.n_numbers = event->n_number;
  out.numbers = event->n_number ? event->numbers : NULL;
  memcpy(out.prompt_end, event->prompt_end, sizeof out.prompt_end);
  return out;
}

int spate_inbox_take_sized(spate_inbox *inbox, void *events, size_t event_size, int max, int timeout_ms) {
  enum { TAKE_AT_ONCE = 64 };
  struct inbox_event taken[TAKE_AT_ONCE];
  int count = inbox_take(inbox->inbox, taken, max < TAKE_AT_ONCE ? max : TAKE_AT_ONCE, timeout_ms);
  for (int i = 0; i < count; i++) {
    spate_event event = event_export(&taken[i]);
    char *place = (char *)events + event_size * (size_t)i;
    if (event_size > sizeof event) memset(place, 0, event_size); /* of a program with a newer header */
    memcpy(place, &event, event_size < sizeof event ? event_size : sizeof event);
  }
  return count;
}

const char *spate_token_text(const spate_engine *engine, int32_t token, size_t *size) {
  struct slice piece = tokenizer_piece(engine->tokenizer, token);
  *size = piece.size;
  return (const char *)piece.data;
}
