#include "runtime/text_join.h"

static size_t ids_count(const int32_t ids[FRAME_IDS]) {
  size_t count = 0;
  while (count < FRAME_IDS && ids[count] >= 0) count++;
  return count;
}

static bool ids_add(struct token_list *out, const int32_t *ids, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!token_list_append(out, ids[i])) return false;
  return true;
}

/* Tokens off the end of the longer text until both fit. */
static void lengths_cut(size_t room, size_t *first, size_t *second) {
  size_t half = room / 2;
  if (*first + *second <= room) return;
  if (*first <= half)
    *second = room - *first;
  else if (*second <= room - half)
    *first = room - *second;
  else
    *first = room - half, *second = half; /* the first of two that are as long keeps one more */
}

static bool parts_join(const struct text_join *join, struct token_list part[2], bool pair, struct token_list *out,
                       int32_t *n_first, struct error *error) {
  const struct text_frame *frame = join->frame;
  size_t around = ids_count(frame->before) + ids_count(frame->middle) + ids_count(frame->after);
  size_t room = (size_t)join->max_tokens > around ? (size_t)join->max_tokens - around : 0;
  size_t first = part[0].count, second = part[1].count;
  if (first + second > room && !join->cut)
    return error_set(error, ERROR_LIMIT,
                     "The text has %zu tokens, more than max_seq_len %d: shorten it, or have it cut "
                     "(truncate_prompt_tokens).",
                     first + second + around, join->max_tokens);
  lengths_cut(room, &first, &second);
  bool added = ids_add(out, frame->before, ids_count(frame->before)) && ids_add(out, part[0].ids, first) &&
               ids_add(out, frame->middle, ids_count(frame->middle));
  *n_first = (int32_t)out->count;
  added = added && ids_add(out, part[1].ids, second) && ids_add(out, frame->after, ids_count(frame->after));
  if (!pair) *n_first = (int32_t)out->count;
  return added || error_set(error, ERROR_MEMORY, "Out of memory for the tokens of a text.");
}

bool text_join_encode(const struct text_join *join, struct slice first, struct slice second, struct token_list *out,
                      int32_t *n_first, struct error *error) {
  struct token_list part[2];
  struct slice text[2] = {first, second};
  bool ok = true;
  for (int i = 0; i < 2; i++) token_list_init(&part[i], text[i].size + 1);
  for (int i = 0; ok && i < 2 && text[i].data; i++) {
    size_t most = join->most[i] > 0 ? (size_t)join->most[i] : SIZE_MAX;
    ok = tokenizer_encode(join->tokenizer, text[i], ENCODE_PARSE_SPECIAL, &part[i], error);
    if (part[i].count > most) part[i].count = most;
  }
  ok = ok && parts_join(join, part, second.data != NULL, out, n_first, error);
  for (int i = 0; i < 2; i++) token_list_release(&part[i]);
  return ok;
}

bool text_join_lead(const struct text_join *join, struct slice prompt, int32_t most, int32_t *count,
                    struct error *error) {
  const struct text_frame *frame = join->frame;
  struct token_list list;
  token_list_init(&list, (size_t)most + 2 * FRAME_IDS);
  bool begun = ids_add(&list, frame->before, ids_count(frame->before));
  bool told = begun && !tokenizer_encode_first(join->tokenizer, prompt, ENCODE_PARSE_SPECIAL, &list, error);
  bool cut = list.count > (size_t)most; /* what is behind it is cut, too */
  bool ok = begun && !told && (cut || ids_add(&list, frame->after, ids_count(frame->after)));
  size_t own = list.count;
  if (own > 0 && tokenizer_is_special(join->tokenizer, list.ids[own - 1])) own--;
  *count = own < (size_t)most ? (int32_t)own : most;
  token_list_release(&list);
  return ok || (!told && error_set(error, ERROR_MEMORY, "Out of memory for the tokens of a prompt."));
}
