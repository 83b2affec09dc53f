/* Few marks at a time, so that each byte is compared with all of them. */
#include "server/answer_marks.h"

size_t answer_spaces_before(struct slice text, size_t at) {
  size_t first = at;
  while (first > 0 && json_is_space(text.data[first - 1])) first--;
  return at - first;
}

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

static void marks_add(struct mark out[MARKS_MAX], int *n, const char *const texts[ANSWER_MARKS], struct mark mark) {
  for (int i = 0; i < ANSWER_MARKS && texts[i]; i++) {
    mark.text = texts[i];
    out[(*n)++] = mark;
  }
}

static void thought_marks(const struct answer_parts *p, struct mark out[MARKS_MAX], int *n) {
  const struct thought_marks *thoughts = p->dialect.thoughts;
  bool content = p->part == PART_CONTENT;
  if (content ? !p->said : !p->seam.told[1].any)
    marks_add(out, n, thoughts->begins, (struct mark){.to = PART_THOUGHT, .first = true});
  if (!content || !p->said) marks_add(out, n, thoughts->ends, (struct mark){.to = PART_CONTENT, .first = content});
  for (int i = 0; i < DROPPED_MARKS && thoughts->dropped[i]; i++)
    if (thoughts->special || (content && (i == 0 ? !p->said : p->framed))) /* else they may be meant */
      out[(*n)++] = (struct mark){.text = thoughts->dropped[i], .to = p->part, .first = !thoughts->special && i == 0};
}

int answer_marks(const struct answer_parts *p, struct mark out[MARKS_MAX]) {
  const struct call_marks *calls = p->dialect.calls;
  int n = 0;
  if (p->dialect.channels) return channel_marks(p->part, out);
  if (p->part == PART_CALLS) {
    const char *end = calls ? calls->forms[p->call.form].end : NULL;
    if (end) out[n++] = (struct mark){.text = end, .to = PART_CONTENT};
    return n;
  }
  if (p->dialect.thoughts) thought_marks(p, out, &n);
  for (int i = 0; calls && p->tools && p->part == PART_CONTENT && i < CALL_FORMS && calls->forms[i].begin; i++)
    out[n++] = (struct mark){.text = calls->forms[i].begin, .to = PART_CALLS, .form = i};
  return n;
}

struct place answer_mark_find(struct slice text, size_t at, const struct mark *marks, int n_mark) {
  for (; at < text.size; at++) {
    size_t left = text.size - at;
    for (int i = 0; i < n_mark; i++) {
      size_t size = strlen(marks[i].text), same = left < size ? left : size;
      if (text.data[at] != (uint8_t)marks[i].text[0] || memcmp(text.data + at, marks[i].text, same) != 0) continue;
      if (marks[i].first && answer_spaces_before(text, at) < at) continue;
      return (struct place){at, left >= size ? &marks[i] : NULL};
    }
  }
  return (struct place){text.size, NULL};
}

size_t answer_mark_begun(struct slice text, const char *mark) {
  const struct mark cut = {.text = mark};
  size_t most = mark ? strlen(mark) - 1 : 0;
  return mark ? text.size - answer_mark_find(text, text.size > most ? text.size - most : 0, &cut, 1).at : 0;
}

bool answer_mark_kept(const char *mark) { return strcmp(mark, "<|channel|>") == 0 || strcmp(mark, "<|start|>") == 0; }
