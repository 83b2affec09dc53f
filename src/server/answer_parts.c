/* A machine of a few parts and the marks that lead from one to another. Everything goes through `held`, which is cut as
 * far as it is known what it is: up to spaces at its end, which a mark may follow, or what may be a mark's beginning.
 */
#include "server/answer_parts.h"

#include "base/limits.h"
#include "server/answer_bare.h"
#include "server/answer_channel.h"
#include "server/answer_marks.h"
#include "server/call_open.h"
#include "server/tool_calls.h"

/* Marks of an end within one call's arguments, calls without a mark that were none: each has the text read again. */
enum { MISSES_MAX = 16 };

/* --- out ---------------------------------------------------------------------------------------------------------- */

static void text_tell(struct answer_parts *p, enum answer_part part, struct slice text) {
  struct slice joint = answer_seam_join(&p->seam, part == PART_THOUGHT, text);
  if (joint.size > 0 && !p->sink.text(p->sink.user, part, joint)) p->failed = true;
  if (text.size > 0 && !p->sink.text(p->sink.user, part, text)) p->failed = true;
}

/* The first bytes of what is held go out as they are. */
static void held_tell(struct answer_parts *p, size_t size) {
  struct slice text = slice_make(p->held.data, size);
  size_t spaces = answer_spaces_before(text, size);
  bool thought = p->part == PART_THOUGHT;
  if (spaces < size && !thought) p->said = true;
  p->spaces = spaces < size ? spaces : p->spaces + spaces;
  text_tell(p, thought ? PART_THOUGHT : PART_CONTENT, text);
  buffer_consume(&p->held, size);
}

/* Every call of the list, if all of them may be made. */
static bool calls_tell(struct answer_parts *p, const json_t *calls) {
  if (json_array_size(calls) > LIMIT_TOOL_CALLS - p->n_call) return false;
  for (size_t i = 0; p->call.bare && i < json_array_size(calls); i++)
    if (!tool_find(p->tools, json_slice(json_object_get(json_array_get(calls, i), "name")))) return false;
  p->n_call += json_array_size(calls);
  for (size_t i = 0; i < json_array_size(calls); i++) {
    const json_t *call = json_array_get(calls, i);
    struct slice arguments = json_slice(json_object_get(call, "arguments"));
    if (!p->sink.call(p->sink.user, json_slice(json_object_get(call, "name")), arguments)) p->failed = true;
  }
  return true;
}

/* The call that ends here, by a mark or with the answer. *read: bytes of it, where text may follow, which is not so if
 * read is NULL. False: it cannot be read. */
static bool call_tell(struct answer_parts *p, struct slice text, bool marked, size_t *read) {
  json_t *calls =
      *p->call.name ? tool_call_named(slice_text(p->call.name), text) : tool_calls_read(text, p->tools, marked, read);
  bool told = calls && calls_tell(p, calls);
  json_decref(calls);
  return told;
}

/* --- from part to part -------------------------------------------------------------------------------------------- */

static void part_enter(struct answer_parts *p, enum answer_part part) {
  p->part = part;
  p->after_mark = false;
  p->seen = p->spaces = 0;
}

/* Behind a mark that is no part of any text. */
static void part_begin(struct answer_parts *p, enum answer_part part) {
  part_enter(p, part);
  answer_seam_cut(&p->seam);
  p->after_mark = true;
}

/* `held` begins with so many spaces; the call is behind its mark. */
static void calls_enter(struct answer_parts *p, int form, size_t spaces, size_t call_at) {
  part_enter(p, PART_CALLS);
  memset(&p->call, 0, sizeof p->call);
  p->call.form = form;
  p->call.spaces = spaces;
  p->call.at = p->seen = call_at;
}

/* What is held is a header, of this size. A call's stays, in case it is none; that of a message to somebody else is a
 * part of it, as nothing else tells to whom it is. */
static void header_end(struct answer_parts *p, size_t size, size_t mark_size) {
  struct channel_header header = channel_header_read(slice_make(p->held.data, size));
  bool calls = p->tools && header.to.size > 0 && header.to.size < sizeof p->call.name &&
               (header.to_function || tool_find(p->tools, header.to));
  if (calls) {
    calls_enter(p, 0, 0, size + mark_size);
    memcpy(p->call.name, p->held.data + (header.to.data - (const uint8_t *)p->held.data), header.to.size);
    return;
  }
  part_enter(p, header.thinks ? PART_THOUGHT : PART_CONTENT);
  answer_seam_cut(&p->seam);
  p->foreign = header.to.size > 0 && !slice_is(header.to, "assistant") && !slice_is(header.to, "user");
  if (p->foreign)
    held_tell(p, size + mark_size);
  else
    buffer_consume(&p->held, size + mark_size);
}

/* It is none: all of it is text, or as much as is known to be. */
static void call_fail(struct answer_parts *p, size_t size) {
  if (p->call.bare) {
    p->n_bare++;
    size = p->call.at + 1;
  } else if (p->call.missed > 0) {
    size = p->call.missed;
  }
  held_tell(p, size);
  part_enter(p, p->dialect.channels ? PART_HEADER : PART_CONTENT);
}

/* The mark that ends the call; NULL: the answer's end. */
static const char *call_end_mark(const struct answer_parts *p) {
  return *p->call.name || p->call.bare ? NULL : p->dialect.calls->forms[p->call.form].end;
}

/* The mark of a call's end, or the answer's: the call is told, or is content. False: the mark is part of an argument.
 */
static bool call_end(struct answer_parts *p, size_t size, size_t mark_size) {
  struct slice call = slice_make(p->held.data + p->call.at, size - p->call.at);
  bool endless = mark_size == 0 && !*p->call.name && !call_end_mark(p);
  size_t read = call.size, begun = mark_size > 0 ? 0 : answer_mark_begun(call, call_end_mark(p));
  if (call_tell(p, call, mark_size > 0, endless && !p->call.exact ? &read : NULL) ||
      (begun > 0 && call_tell(p, slice_make(call.data, call.size - begun), false, NULL))) {
    answer_seam_spaces(&p->seam, slice_make(p->held.data, p->call.spaces), true);
    buffer_consume(&p->held, p->call.at + read + mark_size);
    part_begin(p, p->dialect.channels ? PART_HEADER : PART_CONTENT);
    return true;
  }
  if (mark_size > 0 && !p->call.bare && p->call.n_missed < MISSES_MAX && call_open(call)) {
    if (p->call.n_missed++ == 0) p->call.missed = size + mark_size;
    return false;
  }
  call_fail(p, size + mark_size);
  return true;
}

/* Spaces before the place that nobody is told when a mark follows; too many are text, however they came. */
static size_t spaces_loose(const struct answer_parts *p, size_t at) {
  size_t spaces = answer_spaces_before(buffer_slice(&p->held), at);
  return spaces + (spaces == at ? p->spaces : 0) > ANSWER_SPACES ? 0 : spaces;
}

static void channel_pass(struct answer_parts *p, struct place place, size_t mark_size) {
  held_tell(p, place.at + (p->foreign ? mark_size : 0));
  if (!p->foreign) buffer_consume(&p->held, mark_size);
  p->foreign = false;
  part_enter(p, PART_HEADER);
}

/* Goes over a mark that stands at a place of what is held. False: it is none. */
static bool mark_pass(struct answer_parts *p, struct place place) {
  size_t mark_size = p->dialect.channels && answer_mark_kept(place.mark->text) ? 0 : strlen(place.mark->text);
  if (p->part == PART_CALLS) return call_end(p, place.at, mark_size);
  if (p->part == PART_HEADER)
    header_end(p, place.at, mark_size);
  else if (p->dialect.channels)
    channel_pass(p, place, mark_size);
  if (p->dialect.channels) return true;
  size_t spaces = spaces_loose(p, place.at);
  held_tell(p, place.at - spaces);
  if (place.mark->to == PART_CALLS) {
    bool kept = p->dialect.calls->forms[place.mark->form].kept;
    calls_enter(p, place.mark->form, spaces, spaces + (kept ? 0 : mark_size)); /* which stay, in case it is none */
    return true;
  }
  answer_seam_spaces(&p->seam, slice_make(p->held.data, spaces), true);
  buffer_consume(&p->held, spaces + mark_size);
  if (p->dialect.thoughts && place.mark->text == p->dialect.thoughts->dropped[0]) p->framed = true;
  part_begin(p, place.mark->to);
  return true;
}

/* --- without a mark ----------------------------------------------------------------------------------------------- */

/* Where a call without a mark begins, or may, before this place of what is held. */
static enum bare_begin bare_review(const struct answer_parts *p, size_t limit, size_t *at) {
  const char *brackets = p->tools && p->dialect.calls && !p->dialect.channels ? p->dialect.calls->bare : NULL;
  struct slice text = buffer_slice(&p->held);
  enum bare_begin begins;
  if (!brackets || p->part != PART_CONTENT || p->n_bare >= MISSES_MAX) return BARE_TEXT;
  if (*brackets == '\n' && p->said) return BARE_TEXT;
  for (*at = 0; *brackets == '\n' && *at < limit && json_is_space(text.data[*at]);) ++*at;
  if (*brackets == '\n')
    return *at == limit ? BARE_TEXT : bare_begins(brackets, slice_make(text.data + *at, text.size - *at), p->tools);
  *at = bare_find(brackets, text, limit, p->tools, &begins);
  return begins;
}

/* Only Python's, at the beginning, may have a text behind it: what is a call elsewhere could be an example of one. */
static void bare_enter(struct answer_parts *p, enum bare_begin begins, size_t at) {
  size_t spaces = spaces_loose(p, at);
  held_tell(p, at - spaces);
  calls_enter(p, 0, spaces, spaces);
  p->call.bare = true;
  p->call.exact = p->said || begins != BARE_LIST;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

void answer_parts_init(struct answer_parts *parts, struct answer_dialect dialect, const json_t *tools,
                       struct slice prompt_end, struct part_sink sink) {
  *parts = (struct answer_parts){.dialect = dialect, .tools = json_array_size(tools) ? tools : NULL, .sink = sink};
  buffer_init(&parts->held, LIMIT_TOOL_CALL_BYTES);
  while (prompt_end.size > 0 && json_is_space(prompt_end.data[prompt_end.size - 1])) prompt_end.size--;
  size_t size = dialect.thoughts ? strlen(dialect.thoughts->begins[0]) : 0;
  bool thinks =
      dialect.thinks || (size > 0 && prompt_end.size >= size &&
                         memcmp(prompt_end.data + prompt_end.size - size, dialect.thoughts->begins[0], size) == 0);
  if (dialect.channels)
    part_begin(parts, PART_HEADER);
  else if (thinks)
    part_begin(parts, PART_THOUGHT);
}

void answer_parts_release(struct answer_parts *parts) { buffer_release(&parts->held); }

/* Spaces at the beginning that follow a mark. */
static void spaces_drop(struct answer_parts *p) {
  struct slice text = buffer_slice(&p->held);
  size_t n = 0;
  while (n < text.size && json_is_space(text.data[n])) n++;
  answer_seam_spaces(&p->seam, slice_make(text.data, n), n < text.size);
  if (n < text.size) p->after_mark = false;
  buffer_consume(&p->held, n);
}

/* What is known of what is held, told. True: there may be more to say of it. */
static bool held_review(struct answer_parts *p) {
  struct mark marks[MARKS_MAX];
  size_t bare_at;
  if (p->after_mark && p->part != PART_HEADER) spaces_drop(p);
  int n_mark = answer_marks(p, marks);
  bool waits = p->part == PART_CALLS || p->part == PART_HEADER; /* all of it, until its end */
  struct place place = answer_mark_find(buffer_slice(&p->held), waits ? p->seen : 0, marks, n_mark);
  enum bare_begin begins = waits ? BARE_TEXT : bare_review(p, place.at, &bare_at);
  if (begins == BARE_CALL || begins == BARE_LIST) {
    bare_enter(p, begins, bare_at);
    return true;
  }
  if (begins == BARE_PERHAPS) place = (struct place){bare_at, NULL};
  if (place.mark && mark_pass(p, place)) return true;
  if (waits) {
    p->seen = place.mark ? place.at + 1 : place.at;
    return place.mark != NULL;
  }
  held_tell(p, place.at - spaces_loose(p, place.at));
  return false;
}

static void held_review_all(struct answer_parts *p) {
  while (!p->failed && p->held.size > 0 && held_review(p)) continue;
}

/* As much as a call may have is held, and it goes on: it is text, and so is what looks like calls after it. */
static void held_give_up(struct answer_parts *p) {
  if (p->part == PART_HEADER) p->part = PART_CONTENT;
  held_tell(p, p->held.size);
  part_enter(p, PART_CONTENT);
  p->tools = NULL;
}

/* The answer ended within a header: of a message that nobody began but for its marks, unless it is to be a call. */
static void header_cut(struct answer_parts *p) {
  struct slice text = buffer_slice(&p->held);
  bool marked = slice_starts(text, "<|channel|>") || slice_starts(text, "<|start|>");
  p->part = PART_CONTENT;
  if (marked && channel_header_read(text).to.size == 0) buffer_consume(&p->held, p->held.size);
}

bool answer_parts_take(struct answer_parts *parts, struct slice text) {
  while (!parts->failed && text.size > 0) {
    size_t room = parts->held.max - parts->held.size, size = text.size < room ? text.size : room;
    if (!buffer_append(&parts->held, text.data, size)) parts->failed = true;
    text = slice_make(text.data + size, text.size - size);
    held_review_all(parts);
    if (parts->held.size == parts->held.max) held_give_up(parts);
  }
  return !parts->failed;
}

bool answer_parts_end(struct answer_parts *parts) {
  while (!parts->failed && parts->part == PART_CALLS) {
    call_end(parts, parts->held.size, 0);
    held_review_all(parts); /* what follows it may be another */
  }
  if (parts->part == PART_HEADER) header_cut(parts);
  held_tell(parts, parts->held.size);
  return !parts->failed;
}
