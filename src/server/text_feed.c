#include "server/text_feed.h"

#include "base/clock.h"

#include <stdlib.h>

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

struct text_feed *text_feed_new(struct embed_request *wanted, bool pairs) {
  struct text_feed *feed = calloc(1, sizeof *feed);
  if (!feed) {
    embed_request_release(wanted);
    return NULL;
  }
  *feed = (struct text_feed){.wanted = *wanted, .pairs = pairs, .submitted_us = clock_us()};
  feed->prompt[0] = feed->prompt[1] = wanted->prompt_name;
  return feed;
}

void text_feed_free(struct text_feed *feed) {
  if (feed) embed_request_release(&feed->wanted);
  free(feed);
}

int text_feed_count(const struct text_feed *feed) {
  const struct embed_request *r = &feed->wanted;
  return (int)(feed->pairs ? larger(r->first.count, r->second.count) : r->first.count + r->second.count);
}

/* A text's tokens, or its bytes. False: there is no memory. */
static bool text_take(const json_t *text, spate_embed_request *one, int32_t **ids) {
  size_t count = json_array_size(text);
  *ids = NULL;
  if (json_is_string(text)) {
    one->text = json_string_value(text);
    one->text_size = json_string_length(text);
    return true;
  }
  *ids = calloc(count, sizeof **ids);
  for (size_t i = 0; *ids && i < count; i++) (*ids)[i] = (int32_t)json_integer_value(json_array_get(text, i));
  one->tokens = *ids;
  one->n_token = (int)count;
  return *ids != NULL;
}

/* What is left of the request's time. */
static bool time_take(const struct text_feed *feed, spate_embed_request *one, spate_error *error) {
  float passed = (float)(clock_us() - feed->submitted_us) * 1e-6f;
  if (feed->wanted.timeout_s <= 0) return true;
  one->timeout_s = feed->wanted.timeout_s - passed;
  if (one->timeout_s > 0) return true;
  *error = (spate_error){SPATE_TIMEOUT, "The timeout_s of the request has passed before all of its texts began."};
  return false;
}

bool text_feed_take(const struct text_feed *feed, spate_embed_request *one, int32_t **ids, spate_error *error) {
  const struct embed_request *r = &feed->wanted;
  size_t index = (size_t)feed->next;
  bool second = !feed->pairs && index >= r->first.count;
  spate_embed_request_init(one);
  *ids = NULL;
  one->dimensions = r->dimensions;
  one->plain = r->plain;
  one->chat = r->chat;
  if (second || feed->pairs) one->max_tokens_per_doc = r->max_tokens_per_doc;
  one->truncate = r->truncate;
  one->priority = r->priority;
  one->tenant = feed->tenant;
  one->again = index > 0;
  const json_t *text = second ? embed_text_at(&r->second, index - r->first.count) : embed_text_at(&r->first, index);
  if (!time_take(feed, one, error)) return false;
  if (!text_take(text, one, ids)) {
    *error = (spate_error){SPATE_MEMORY, "Out of memory for a request."};
    return false;
  }
  one->prompt_name = feed->prompt[second];
  if (!feed->pairs || !r->second.field) return true;
  one->instruct = (const char *)r->instruct.data;
  one->instruct_size = r->instruct.size;
  const json_t *pair = embed_text_at(&r->second, index);
  one->pair = json_string_value(pair);
  one->pair_size = json_string_length(pair);
  return true;
}
