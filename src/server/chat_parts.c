/* Parts into the buffers of a choice. What the machine holds back counts among what waits. */
#include "server/chat_parts.h"

#include "base/hash.h"
#include "base/limits.h"
#include "server/answer.h"
#include "server/answer_parts.h"

#include <stdlib.h>

static bool text_keep(void *user, enum answer_part part, struct slice text) {
  struct choice *choice = user;
  bool thought = part == PART_THOUGHT;
  if (thought && choice->answer->facts.no_thought) return true;
  return answer_keep(choice, thought ? &choice->thought : &choice->text, text.data, text.size);
}

/* Nine letters and digits, as Mistral's templates want them; no other call of this server has them. */
static void call_number(const struct choice *choice, char out[10]) {
  static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  uint64_t which = (uint64_t)choice->index << 32 | (uint64_t)choice->n_call;
  uint64_t rest = hash_bytes(slice_text(choice->answer->facts.id), which).low;
  for (int i = 0; i < 9; i++, rest /= 62) out[i] = digits[rest % 62];
  out[9] = 0;
}

/* Of a stream, each has its place among all. */
static bool call_keep(void *user, struct slice name, struct slice arguments) {
  struct choice *choice = user;
  struct buffer object;
  char number[10];
  if (choice->answer->facts.one_call && choice->n_call > 0) return true;
  call_number(choice, number);
  buffer_init(&object, 8 * LIMIT_TOOL_CALL_BYTES); /* with escapes of escapes */
  buffer_text(&object, choice->calls.size ? ",{" : "{");
  if (choice->answer->form->streams) buffer_print(&object, "\"index\":%d,", choice->n_call);
  buffer_print(&object, "\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", number);
  json_write_string(&object, name);
  buffer_text(&object, ",\"arguments\":");
  json_write_string(&object, arguments);
  buffer_text(&object, "}}");
  bool kept = !object.failed && answer_keep(choice, &choice->calls, object.data, object.size);
  buffer_release(&object);
  if (kept) choice->n_call++;
  return kept;
}

/* The first event tells how the prompt ended. */
static bool parts_begin(struct choice *choice, const spate_event *event) {
  const struct answer_facts *facts = &choice->answer->facts;
  struct buffer end;
  choice->parts = calloc(1, sizeof *choice->parts);
  if (!choice->parts) return false;
  buffer_init(&end, LIMIT_TOKEN_BYTES * sizeof event->prompt_end / sizeof *event->prompt_end);
  for (size_t i = 0; i < sizeof event->prompt_end / sizeof *event->prompt_end; i++) {
    size_t size;
    if (event->prompt_end[i] < 0) continue;
    const char *text = spate_token_text(facts->engine, event->prompt_end[i], &size);
    buffer_append(&end, text, size);
  }
  answer_parts_init(choice->parts, facts->dialect, facts->tools, buffer_slice(&end),
                    (struct part_sink){.text = text_keep, .call = call_keep, .user = choice});
  buffer_release(&end);
  return true;
}

bool chat_parts_keep(struct choice *choice, const spate_event *event) {
  if (!choice->parts && !parts_begin(choice, event)) return false;
  size_t held = choice->parts->held.size;
  bool kept = answer_parts_take(choice->parts, slice_make(event->text, event->text_size)) &&
              (event->kind != SPATE_DONE || answer_parts_end(choice->parts));
  return answer_held_count(choice->answer, held, choice->parts->held.size) && kept;
}

void chat_parts_free(struct choice *choice) {
  if (!choice->parts) return;
  answer_parts_release(choice->parts);
  free(choice->parts);
}
