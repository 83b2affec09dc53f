/* Requests' rules on their way to the device: all that a draw reads goes over with each step, so that nothing has to be
 * kept in step with seats. Bad words are matched here; what depends on a token that only the device knows yet is left
 * to it. */
#include "backend/cuda/cuda_program.h"
#include "backend/logit_rules.h"

#include <string.h>

_Static_assert(sizeof(struct cuda_bias) == sizeof(struct token_bias), "biases are copied as they are");

static bool penalizes(const struct logit_rules *r) {
  return (r->repetition_penalty > 0 && r->repetition_penalty != 1) || r->frequency_penalty != 0 ||
         r->presence_penalty != 0;
}

/* Words of 4 bytes that the arrays take at most. */
static size_t words_most(const struct sampling *s) {
  const struct logit_rules *r = s->rules;
  size_t history = penalizes(r) ? (size_t)s->n_history + 1 : 0;
  return history + (size_t)r->n_allowed + 2 * ((size_t)r->n_bias + (size_t)r->n_bad + (size_t)r->n_end);
}

/* The end of the slab, filled from the front. */
static void *words_take(struct cuda_room *room, size_t count, const void **on_device) {
  void *at = room->host + room->used;
  *on_device = room->device + room->used;
  room->used += count * sizeof(int32_t);
  return at;
}

static const void *words_put(struct cuda_room *room, const void *from, size_t count) {
  const void *on_device;
  void *at = words_take(room, count, &on_device);
  if (count > 0) memcpy(at, from, count * sizeof(int32_t));
  return on_device;
}

/* What may not be drawn: the ends of an answer that is too short, and the last token of a bad word whose others are the
 * history's last. late: of those the very last is not known here. */
static int32_t bans_fill(const struct sampling *s, bool late, struct cuda_ban *ban) {
  const struct logit_rules *r = s->rules;
  int32_t n = 0;
  for (int i = 0; s->index < (uint64_t)r->min_tokens && i < r->n_end; i++) ban[n++] = (struct cuda_ban){-1, r->end[i]};
  for (int32_t at = 0; at < r->n_bad; at += 1 + r->bad[at]) {
    const int32_t *word = r->bad + at;
    int before = word[0] - 1, known = late && before > 0 ? before - 1 : before;
    if (known > s->n_history) continue;
    if (known > 0 && memcmp(s->history + s->n_history - known, word + 1, (size_t)known * sizeof *word) != 0) continue;
    ban[n++] = (struct cuda_ban){known < before ? word[before] : -1, word[1 + before]};
  }
  return n;
}

bool cuda_rules_act(const struct sampling *s) { return s->draw != DRAW_SCORE && logit_rules_act(s); }

bool cuda_rules_fill(struct cuda_room *room, const struct sampling *s, int32_t seat, int32_t seat_token,
                     struct cuda_rules *rules) {
  const struct logit_rules *r = s->rules;
  const void *bans;
  bool missing = (uint64_t)(s->n_history - s->n_prompt) < s->index;
  if (room->used + words_most(s) * sizeof(int32_t) > room->bytes) return false;
  *rules = (struct cuda_rules){.repetition = r->repetition_penalty,
                               .frequency = r->frequency_penalty,
                               .presence = r->presence_penalty,
                               .late_seat = missing ? seat : -1,
                               .late_token = missing ? seat_token : -1,
                               .n_prompt = s->n_prompt,
                               .n_bias = r->n_bias,
                               .n_allowed = r->n_allowed};
  rules->n_history = penalizes(r) ? s->n_history : -1;
  rules->history = words_put(room, s->history, penalizes(r) ? (size_t)s->n_history : 0);
  rules->allowed = words_put(room, r->allowed, (size_t)r->n_allowed);
  rules->bias = words_put(room, r->bias, 2 * (size_t)r->n_bias);
  struct cuda_ban *ban = words_take(room, 0, &bans);
  rules->n_ban = bans_fill(s, missing, ban);
  rules->ban = bans;
  words_take(room, 2 * (size_t)rules->n_ban, &bans);
  return true;
}
