/* A machine of a few parts and the marks that lead from one to another. Everything goes through `held`, which is cut as
 * far as it is known what it is: up to spaces at its end, which a mark may follow, or what may be a mark's beginning.
 */
#include "server/answer_parts.h"

#include "base/limits.h"
#include "server/answer_bare.h"
#include "server/answer_channel.h"
#include "server/tool_calls.h"

#include <stdio.h>

enum {
  MARKS_MAX = 8,
  SPACES_MAX = 64, /* more of them are text, whatever follows */
  MISSES_MAX = 16, /* marks of an end within one call's arguments; each has the call read again */
};

struct mark {
  const char *text;
  enum answer_part to;
  bool first; /* after nothing but spaces */
  int form;   /* of calls */
};

static size_t spaces_before(struct slice text, size_t at) {
  size_t first = at;
  while (first > 0 && json_is_space(text.data[first - 1])) first--;
  return at - first;
}

/* --- marks -------------------------------------------------------------------------------------------------------- */

static int channel_marks(enum answer_part part, struct mark out[MARKS_MAX]) {
  static const char *const ends[] = {"<|end|>", "<|call|>", "<|return|>", "<|start|>", "<|channel|>"};
  int n = 0;
  if (part == PART_HEADER)
    out[n++] = (struct mark){.text = "<|message|>"}; /* to what the header says */
  else
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
      out[n++] = (struct mark){.text = ends[i], .to = PART_HEADER};
  return n;
}

/* Those that may end this part. */
static int marks_of(const struct answer_parts *p, struct mark out[MARKS_MAX]) {
  const struct thought_marks *thoughts = p->dialect.thoughts;
  const struct call_marks *calls = p->dialect.calls;
  int n = 0;
  if (p->dialect.channels) return channel_marks(p->part, out);
  if (p->part == PART_CALLS) {
    const char *end = calls ? calls->forms[p->form].end : NULL;
    if (end) out[n++] = (struct mark){.text = end, .to = PART_CONTENT};
    return n;
  }
  if (thoughts && p->part == PART_THOUGHT) out[n++] = (struct mark){.text = thoughts->end, .to = PART_CONTENT};
  if (thoughts && !p->begun) out[n++] = (struct mark){.text = thoughts->begin, .to = PART_THOUGHT, .first = true};
  if (thoughts && !p->begun) out[n++] = (struct mark){.text = thoughts->end, .to = PART_CONTENT, .first = true};
  for (int i = 0; thoughts && i < ANSWER_MARKS && thoughts->dropped[i]; i++)
    if (thoughts->special || (p->part == PART_CONTENT && (i == 0 ? !p->said : p->framed))) /* else they may be meant */
      out[n++] = (struct mark){.text = thoughts->dropped[i], .to = p->part, .first = !thoughts->special && i == 0};
  for (int i = 0; calls && p->tools && p->part == PART_CONTENT && i < CALL_FORMS && calls->forms[i].begin; i++)
    out[n++] = (struct mark){.text = calls->forms[i].begin, .to = PART_CALLS, .form = i};
  return n;
}

/* Where a mark begins that is whole, or may become whole: the first place from `at` on. */
struct place {
  size_t at;
  const struct mark *mark; /* NULL: the text ends within one, or at its end */
};

static struct place mark_find(struct slice text, size_t at, const struct mark *marks, int n_mark) {
  for (; at < text.size; at++) {
    size_t left = text.size - at;
    for (int i = 0; i < n_mark; i++) {
      size_t size = strlen(marks[i].text), same = left < size ? left : size;
      if (text.data[at] != (uint8_t)marks[i].text[0] || memcmp(text.data + at, marks[i].text, same) != 0) continue;
      if (marks[i].first && spaces_before(text, at) < at) continue;
      return (struct place){at, left >= size ? &marks[i] : NULL};
    }
  }
  return (struct place){text.size, NULL};
}

/* --- out ---------------------------------------------------------------------------------------------------------- */

static void text_tell(struct answer_parts *p, enum answer_part part, struct slice text) {
  if (text.size > 0 && !p->sink.text(p->sink.user, part, text)) p->failed = true;
}

/* The first bytes of what is held go out as they are. */
static void held_tell(struct answer_parts *p, size_t size) {
  struct slice text = slice_make(p->held.data, size);
  size_t spaces = spaces_before(text, size);
  if (spaces < size) p->begun = true;
  if (spaces < size && p->part == PART_CONTENT) p->said = true;
  p->spaces = spaces < size ? spaces : p->spaces + spaces;
  if (p->part != PART_HEADER) text_tell(p, p->part == PART_THOUGHT ? PART_THOUGHT : PART_CONTENT, text);
  buffer_consume(&p->held, size);
}

/* Every call of the list, if all of them may be made. */
static bool calls_tell(struct answer_parts *p, const json_t *calls) {
  for (size_t i = 0; p->bare && i < json_array_size(calls); i++)
    if (!tool_find(p->tools, json_slice(json_object_get(json_array_get(calls, i), "name")))) return false;
  for (size_t i = 0; i < json_array_size(calls); i++) {
    const json_t *call = json_array_get(calls, i);
    if (!p->sink.call(p->sink.user, json_slice(json_object_get(call, "name")), json_object_get(call, "arguments")))
      p->failed = true;
  }
  return true;
}

/* The call that ends here. False: it cannot be read. */
static bool call_tell(struct answer_parts *p, struct slice text) {
  struct error error;
  json_t *calls;
  if (*p->name) {
    bool none = spaces_before(text, text.size) == text.size;
    json_t *arguments = none ? json_object() : json_parse(text, &error);
    calls = json_is_object(arguments) ? json_pack("[{s:s,s:O}]", "name", p->name, "arguments", arguments) : NULL;
    json_decref(arguments);
  } else {
    calls = tool_calls_read(text, p->tools);
  }
  bool told = calls && calls_tell(p, calls);
  json_decref(calls);
  return told;
}

/* --- from part to part -------------------------------------------------------------------------------------------- */

static void part_enter(struct answer_parts *p, enum answer_part part) {
  p->part = part;
  p->after_mark = true;
  p->bare = false;
  p->n_missed = 0;
  p->call_at = p->seen = p->spaces = 0;
}

static void calls_enter(struct answer_parts *p, int form, size_t call_at) {
  part_enter(p, PART_CALLS);
  p->form = form;
  p->after_mark = false;
  p->begun = true;
  p->call_at = p->seen = call_at;
}

static void header_end(struct answer_parts *p, size_t size, size_t mark_size) {
  struct channel_header header = channel_header_read(slice_make(p->held.data, size));
  bool calls = p->tools && header.to.size > 0 && header.to.size < sizeof p->name &&
               (header.to_function || tool_find(p->tools, header.to));
  if (calls) snprintf(p->name, sizeof p->name, "%.*s", (int)header.to.size, (const char *)header.to.data);
  buffer_consume(&p->held, size + mark_size);
  if (calls)
    calls_enter(p, 0, 0);
  else
    part_enter(p, header.thinks ? PART_THOUGHT : PART_CONTENT);
  p->after_mark = false;
}

/* The mark of a call's end, or the answer's: the call is told, or all of it is content. False: the mark is part of an
 * argument. */
static bool call_end(struct answer_parts *p, size_t size, size_t mark_size) {
  struct slice call = slice_make(p->held.data + p->call_at, size - p->call_at);
  bool told = call_tell(p, call);
  if (!told && mark_size > 0 && !*p->name && p->n_missed++ < MISSES_MAX && tool_calls_unfinished(call)) return false;
  if (told)
    buffer_consume(&p->held, size + mark_size);
  else
    held_tell(p, *p->name ? size : size + mark_size);
  if (!told && *p->name) buffer_consume(&p->held, mark_size);
  *p->name = 0;
  part_enter(p, PART_CONTENT);
  p->after_mark = told;
  return true;
}

/* Spaces before the place that nobody is told when a mark follows; too many are text, however they came. */
static size_t spaces_loose(const struct answer_parts *p, size_t at) {
  size_t spaces = spaces_before(buffer_slice(&p->held), at);
  return spaces + (spaces == at ? p->spaces : 0) > SPACES_MAX ? 0 : spaces;
}

/* Goes over a mark that stands at a place of what is held. False: it is none. */
static bool mark_pass(struct answer_parts *p, struct place place) {
  bool channel = p->dialect.channels && strcmp(place.mark->text, "<|channel|>") == 0; /* the header begins with it */
  size_t mark_size = channel ? 0 : strlen(place.mark->text), spaces = spaces_loose(p, place.at);
  if (p->part == PART_HEADER) {
    header_end(p, place.at, mark_size);
    return true;
  }
  if (p->part == PART_CALLS) {
    if (!call_end(p, place.at, mark_size)) return false;
    if (p->dialect.channels) part_enter(p, PART_HEADER);
    return true;
  }
  if (p->dialect.channels) spaces = 0;
  held_tell(p, place.at - spaces);
  if (place.mark->to == PART_CALLS) {
    bool kept = p->dialect.calls->forms[place.mark->form].kept;
    calls_enter(p, place.mark->form, spaces + (kept ? 0 : mark_size)); /* which stay, in case it is none */
    return true;
  }
  buffer_consume(&p->held, spaces + mark_size);
  if (place.mark->to == PART_THOUGHT) p->begun = true;
  if (p->dialect.thoughts && place.mark->text == p->dialect.thoughts->dropped[0]) p->framed = true;
  part_enter(p, place.mark->to);
  return true;
}

/* --- without a mark ----------------------------------------------------------------------------------------------- */

/* An answer that begins as a call without a mark. False: what is held has to wait. */
static bool bare_review(struct answer_parts *p) {
  const char *brackets = p->tools && p->dialect.calls && !p->dialect.channels ? p->dialect.calls->bare : NULL;
  struct slice text = buffer_slice(&p->held);
  size_t at = 0;
  if (!brackets || p->said || p->part != PART_CONTENT) return true;
  while (at < text.size && json_is_space(text.data[at])) at++;
  if (at == text.size || at + p->spaces > SPACES_MAX) return true;
  enum bare_begin begins = bare_begins(brackets, slice_make(text.data + at, text.size - at), p->tools);
  if (begins == BARE_CALL) calls_enter(p, 0, at);
  p->bare = begins == BARE_CALL;
  return begins != BARE_PERHAPS;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

void answer_parts_init(struct answer_parts *parts, struct answer_dialect dialect, const json_t *tools,
                       struct slice prompt_end, struct part_sink sink) {
  *parts = (struct answer_parts){.dialect = dialect, .tools = json_array_size(tools) ? tools : NULL, .sink = sink};
  buffer_init(&parts->held, LIMIT_TOOL_CALL_BYTES);
  while (prompt_end.size > 0 && json_is_space(prompt_end.data[prompt_end.size - 1])) prompt_end.size--;
  size_t size = dialect.thoughts ? strlen(dialect.thoughts->begin) : 0;
  if (dialect.channels) {
    part_enter(parts, PART_HEADER);
  } else if (size && prompt_end.size >= size &&
             memcmp(prompt_end.data + prompt_end.size - size, dialect.thoughts->begin, size) == 0) {
    part_enter(parts, PART_THOUGHT);
    parts->begun = true;
  }
}

void answer_parts_release(struct answer_parts *parts) { buffer_release(&parts->held); }

/* Spaces at the beginning that follow a mark. */
static void spaces_drop(struct answer_parts *p) {
  struct slice text = buffer_slice(&p->held);
  size_t n = 0;
  while (p->after_mark && n < text.size && json_is_space(text.data[n])) n++;
  if (n < text.size) p->after_mark = false;
  buffer_consume(&p->held, n);
}

/* What is known of what is held, told. True: a mark was passed, and there may be more. */
static bool held_review(struct answer_parts *p) {
  struct mark marks[MARKS_MAX];
  if (p->after_mark) spaces_drop(p);
  if (!bare_review(p)) return false;
  int n_mark = marks_of(p, marks);
  struct slice text = buffer_slice(&p->held);
  bool waits = p->part == PART_CALLS || p->part == PART_HEADER; /* all of it, until its end */
  struct place place = mark_find(text, waits ? p->seen : 0, marks, n_mark);
  if (place.mark && mark_pass(p, place)) return true;
  if (waits) {
    p->seen = place.mark ? place.at + 1 : place.at;
    return place.mark != NULL;
  }
  held_tell(p, place.at - spaces_loose(p, place.at));
  return false;
}

/* As much as a call may have is held, and it goes on: it is text, and so is what looks like calls after it. */
static void held_give_up(struct answer_parts *p) {
  if (p->part == PART_HEADER) p->part = PART_CONTENT;
  held_tell(p, p->held.size);
  part_enter(p, PART_CONTENT);
  p->after_mark = false;
  p->tools = NULL;
  *p->name = 0;
}

bool answer_parts_take(struct answer_parts *parts, struct slice text) {
  while (!parts->failed && text.size > 0) {
    size_t room = parts->held.max - parts->held.size, size = text.size < room ? text.size : room;
    if (!buffer_append(&parts->held, text.data, size)) parts->failed = true;
    text = slice_make(text.data + size, text.size - size);
    while (!parts->failed && parts->held.size > 0 && held_review(parts)) continue;
    if (parts->held.size == parts->held.max) held_give_up(parts);
  }
  return !parts->failed;
}

bool answer_parts_end(struct answer_parts *parts) {
  if (parts->part == PART_CALLS && !call_end(parts, parts->held.size, 0)) parts->failed = true;
  if (parts->part == PART_HEADER) parts->part = PART_CONTENT;
  held_tell(parts, parts->held.size);
  return !parts->failed;
}
