/* From events to responses. A stream begins with its first event, so that a request that fails before it gets the
 * status of its failure. */
#include "server/answer.h"

#include "base/limits.h"
#include "server/answer_logprobs.h"
#include "server/chat_parts.h"
#include "server/reply.h"
#include "server/text_feed.h"

#include <stdio.h>
#include <stdlib.h>

static const char too_slow[] = "The client took its answer too slowly and the request was cancelled.";
static const char too_large[] = "The next event is larger than one response may be and the request was cancelled: take "
                                "the answer faster, or ask for fewer log-probabilities.";

struct answer *answer_new(const struct answer_form *form, uint64_t http_id, int n_choice, atomic_size_t *kept_by_all) {
  struct answer *answer = calloc(1, sizeof *answer + (size_t)n_choice * sizeof answer->choice[0]);
  if (!answer) return NULL;
  answer->form = form;
  answer->http_id = http_id;
  answer->n_choice = n_choice;
  answer->kept_by_all = kept_by_all;
  size_t share = LIMIT_RESPONSE_BYTES / (size_t)n_choice; /* the limit is of what waits for one client */
  for (int i = 0; i < n_choice; i++) {
    answer->choice[i] = (struct choice){.answer = answer, .index = i, .stop_string = -1, .stop_token = -1};
    buffer_init(&answer->choice[i].text, share);
    buffer_init(&answer->choice[i].thought, share);
    buffer_init(&answer->choice[i].calls, share);
    buffer_init(&answer->choice[i].logprobs, share);
    buffer_init(&answer->choice[i].prompt_logprobs, share);
  }
  return answer;
}

void answer_free(struct answer *answer) {
  if (!answer) return;
  for (int i = 0; i < answer->n_choice; i++) {
    buffer_release(&answer->choice[i].text);
    buffer_release(&answer->choice[i].thought);
    buffer_release(&answer->choice[i].calls);
    chat_parts_free(&answer->choice[i]);
    buffer_release(&answer->choice[i].logprobs);
    buffer_release(&answer->choice[i].prompt_logprobs);
  }
  atomic_fetch_sub_explicit(answer->kept_by_all, answer->kept, memory_order_relaxed);
  json_decref(answer->facts.tools);
  json_decref(answer->facts.stop);
  json_decref(answer->facts.adapter);
  json_decref(answer->facts.documents);
  text_feed_free(answer->feed);
  free(answer);
}

bool answer_keep(struct choice *choice, struct buffer *place, const void *bytes, size_t size) {
  struct answer *answer = choice->answer;
  size_t others = atomic_fetch_add_explicit(answer->kept_by_all, size, memory_order_relaxed);
  answer->kept += size;
  if (size <= LIMIT_ANSWERS_BYTES && others <= LIMIT_ANSWERS_BYTES - size && buffer_append(place, bytes, size))
    return true;
  answer->kept -= size;
  atomic_fetch_sub_explicit(answer->kept_by_all, size, memory_order_relaxed);
  return false;
}

bool answer_held_count(struct answer *answer, size_t before, size_t now) {
  size_t others = now > before ? atomic_fetch_add_explicit(answer->kept_by_all, now - before, memory_order_relaxed)
                               : atomic_fetch_sub_explicit(answer->kept_by_all, before - now, memory_order_relaxed);
  answer->kept += now - before; /* unsigned: also when it is less */
  return now <= before || others <= LIMIT_ANSWERS_BYTES - (now - before);
}

/* A buffer that has become large while its client was slow does not stay so. */
static void kept_drop(struct answer *answer, struct buffer *place) {
  answer->kept -= place->size;
  atomic_fetch_sub_explicit(answer->kept_by_all, place->size, memory_order_relaxed);
  if (place->capacity > LIMIT_CONNECTION_OUTPUT_BYTES)
    buffer_release(place);
  else
    buffer_clear(place);
}

struct answer_usage answer_usage_of(const struct answer *answer) {
  struct answer_usage usage = {0};
  for (int i = 0; i < answer->n_choice; i++) {
    usage.generated_tokens += answer->choice[i].generated_tokens;
    if (i % answer->facts.n > 0) continue;
    usage.prompt_tokens += answer->choice[i].prompt_tokens;
    usage.cached_tokens += answer->choice[i].cached_tokens;
  }
  return usage;
}

void answer_write_stop_reason(struct buffer *out, const struct choice *choice) {
  const json_t *stop = choice->answer->facts.stop;
  const json_t *string = json_is_array(stop) ? json_array_get(stop, (size_t)choice->stop_string) : stop;
  bool stopped = choice->finish == SPATE_FINISH_STOP;
  buffer_text(out, ",\"stop_reason\":");
  if (stopped && choice->stop_string >= 0)
    json_write_string(out, json_slice(string));
  else if (stopped && choice->stop_token >= 0)
    buffer_print(out, "%d", choice->stop_token);
  else
    buffer_text(out, "null");
}

/* --- streams ----------------------------------------------------------------------------------------------------- */

/* Sends what was written and notes whether the client keeps up. */
static void stream_send(struct answer *answer, struct http_request *request, struct buffer *frame) {
  if (!answer->begun) reply_stream(request, answer->form->content_type);
  answer->begun = true;
  if (frame->size > 0 && http_stream_write(request, buffer_slice(frame)) == HTTP_STOP) answer->stopped = true;
  buffer_release(frame);
}

/* What waits of a choice, or nothing when there is nothing to tell. False: as JSON it is more than may wait. */
static bool choice_send(struct choice *choice, struct http_request *request) {
  struct buffer frame;
  bool quiet =
      choice->text.size + choice->thought.size + choice->calls.size + choice->logprobs.size == 0 && !choice->ended;
  if (choice->told || quiet) return true;
  buffer_init(&frame, LIMIT_RESPONSE_BYTES);
  choice->answer->form->piece(&frame, choice);
  if (frame.failed) {
    buffer_release(&frame);
    return false;
  }
  choice->begun = true;
  choice->told = choice->ended;
  choice->told_characters += logprobs_characters(choice);
  kept_drop(choice->answer, &choice->text);
  kept_drop(choice->answer, &choice->thought);
  kept_drop(choice->answer, &choice->calls);
  kept_drop(choice->answer, &choice->logprobs);
  kept_drop(choice->answer, &choice->prompt_logprobs);
  stream_send(choice->answer, request, &frame);
  return true;
}

static enum answer_progress stream_fail(struct answer *answer, struct http_request *request, spate_code code,
                                        struct slice sentence) {
  struct buffer frame;
  buffer_init(&frame, LIMIT_RESPONSE_BYTES);
  answer->form->failure(&frame, answer, code, sentence);
  stream_send(answer, request, &frame);
  http_stream_end(request);
  return ANSWER_OVER;
}

/* Before the stream has begun there is still a status to tell it by. */
static enum answer_progress answer_fail(struct answer *answer, struct http_request *request, spate_code code,
                                        struct slice reason) {
  char sentence[512];
  if (answer->begun) return stream_fail(answer, request, code, reason);
  snprintf(sentence, sizeof sentence, "%.*s", (int)reason.size, (const char *)reason.data);
  reply_engine_error(request, code, sentence);
  return ANSWER_OVER;
}

static enum answer_progress stream_close(struct answer *answer, struct http_request *request) {
  struct buffer frame;
  if (answer->n_ended < answer->n_choice) return ANSWER_GOES_ON;
  buffer_init(&frame, LIMIT_RESPONSE_BYTES);
  if (answer->form->close) answer->form->close(&frame, answer);
  stream_send(answer, request, &frame);
  http_stream_end(request);
  return ANSWER_OVER;
}

/* --- events ------------------------------------------------------------------------------------------------------ */

/* Those of a prompt stand before the first text: of each choice that tells its tokens from the prompt on, or by
 * themselves. */
static bool prompt_keep(struct choice *first, const void *rows, size_t size) {
  const struct answer_facts *facts = &first->answer->facts;
  if (!facts->echo || !facts->logprobs) return answer_keep(first, &first->prompt_logprobs, rows, size);
  for (int i = 0; i < facts->n; i++)
    if (!answer_keep(&first[i], &first[i].logprobs, rows, size)) return false;
  return true;
}

/* Keeps an event's text and log-probabilities; false when more waits than may. */
static bool event_keep(struct choice *choice, const spate_event *event) {
  size_t row = sizeof(spate_logprob) * (size_t)(1 + event->top_logprobs);
  if (event->kind == SPATE_PROMPT) return prompt_keep(choice, event->logprobs, (size_t)event->n_logprobs * row);
  if (choice->answer->facts.only_echo) return true;
  if (event->n_numbers > 0)
    return answer_keep(choice, &choice->text, event->numbers, (size_t)event->n_numbers * sizeof *event->numbers);
  bool apart = choice->answer->facts.takes_apart;
  return (apart ? chat_parts_keep(choice, event) : answer_keep(choice, &choice->text, event->text, event->text_size)) &&
         answer_keep(choice, &choice->logprobs, event->logprobs, (size_t)event->n_logprobs * row);
}

static enum answer_progress whole_refuse(struct http_request *request) {
  reply_engine_error(request, SPATE_LIMIT, "The answer is larger than one response may be: stream it.");
  return ANSWER_OVER;
}

static enum answer_progress whole_finish(struct answer *answer, struct http_request *request) {
  struct buffer body;
  bool cancelled = false;
  if (answer->n_ended < answer->n_choice) return ANSWER_GOES_ON;
  for (int i = 0; i < answer->n_choice; i++) cancelled |= answer->choice[i].finish == SPATE_FINISH_CANCELLED;
  buffer_init(&body, LIMIT_RESPONSE_BYTES);
  answer->form->whole(&body, answer);
  if (body.failed)
    whole_refuse(request);
  else if (cancelled)
    reply_engine_error(request, SPATE_CANCELLED, "The request was cancelled because the server is stopping.");
  else
    http_respond(request, 200, JSON_CONTENT_TYPE, NULL, buffer_slice(&body));
  buffer_release(&body);
  return ANSWER_OVER;
}

/* All that waits of all choices, and the end of the stream if that is all. */
static enum answer_progress stream_go_on(struct answer *answer, struct http_request *request) {
  if (answer->overflowed)
    return answer->n_ended < answer->n_choice ? ANSWER_GOES_ON
                                              : stream_fail(answer, request, SPATE_LIMIT, slice_text(too_slow));
  for (int i = 0; i < answer->n_choice; i++) {
    if (answer->stopped) return ANSWER_GOES_ON; /* the rest is merged until the client has taken what it has */
    int turn = answer->turn;
    answer->turn = (turn + 1) % answer->n_choice;
    if (!choice_send(&answer->choice[turn], request))
      return answer_fail(answer, request, SPATE_LIMIT, slice_text(too_large));
  }
  return stream_close(answer, request);
}

static void event_note(struct choice *choice, const spate_event *event) {
  bool only_echo = choice->answer->facts.only_echo;
  choice->finish = only_echo && event->finish == SPATE_FINISH_STOP ? SPATE_FINISH_LENGTH : event->finish;
  choice->stop_string = event->stop_string;
  choice->stop_token = event->stop_token;
  choice->prompt_tokens = event->prompt_tokens;
  choice->cached_tokens = event->cached_tokens;
  choice->generated_tokens = only_echo ? 0 : event->generated_tokens;
}

enum answer_progress answer_take(struct choice *choice, struct http_request *request, const spate_event *event) {
  struct answer *answer = choice->answer;
  event_note(choice, event);
  if (event->kind == SPATE_FAILED)
    return answer_fail(answer, request, event->code, slice_make(event->text, event->text_size));
  bool overflows = !answer->overflowed && !event_keep(choice, event);
  if (overflows && !answer->form->streams) return whole_refuse(request); /* perhaps no other event comes */
  if (overflows) answer->overflowed = true;
  enum answer_progress progress = ANSWER_GOES_ON;
  if (!answer->form->streams)
    progress = whole_finish(answer, request);
  else if (!answer->stopped)
    progress = stream_go_on(answer, request);
  return overflows && progress == ANSWER_GOES_ON ? ANSWER_TOO_SLOW : progress;
}

enum answer_progress answer_drain(struct answer *answer, struct http_request *request) {
  answer->stopped = false;
  return stream_go_on(answer, request);
}
