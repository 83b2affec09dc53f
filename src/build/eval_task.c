/* Reading tasks. */
#include "build/eval_task.h"

#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"

#include <stdlib.h>

/* A line, before its prompt is written. Slices point into its JSON. */
struct line {
  enum eval_layout layout;
  struct slice question, subject, reference;
  struct slice choice[LIMIT_EVAL_CHOICES];
  int n_choice, answer;
};

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
_Static_assert(sizeof letters - 1 == LIMIT_EVAL_CHOICES, "a letter for each choice");

const char *eval_layout_name(enum eval_layout layout) {
  static const char *const names[] = {[LAYOUT_MMLU] = "mmlu", [LAYOUT_ARC] = "arc", [LAYOUT_GSM8K] = "gsm8k"};
  return names[layout];
}

/* --- fields ------------------------------------------------------------------------------------------------------- */

/* Of MMLU the list itself, of ARC its "text". */
static bool choices_read(const json_t *list, struct line *line, struct error *error) {
  size_t count = json_array_size(list);
  bool good = count >= 2 && count <= LIMIT_EVAL_CHOICES;
  for (size_t i = 0; good && i < count; i++) {
    const json_t *text = json_array_get(list, i);
    good = json_is_string(text) && json_string_length(text) > 0;
    if (good) line->choice[i] = json_slice(text);
  }
  line->n_choice = (int)count;
  return good ||
         error_set(error, ERROR_FORMAT, "The choices are %zu values, expected 2 to %d texts that are not empty.", count,
                   LIMIT_EVAL_CHOICES);
}

/* Where among the labels the key is. */
static bool key_read(const json_t *labels, const json_t *key, struct line *line, struct error *error) {
  if (!json_is_string(key) || json_array_size(labels) != (size_t)line->n_choice)
    return error_set(error, ERROR_FORMAT,
                     "There are %d choices and %zu labels, and \"answerKey\" is %s; expected a label for each choice "
                     "and one of them as the key.",
                     line->n_choice, json_array_size(labels), json_is_string(key) ? "a text" : "none");
  for (int i = 0; i < line->n_choice; i++) {
    const json_t *label = json_array_get(labels, (size_t)i);
    line->answer = i;
    if (json_is_string(label) && slice_equal(json_slice(label), json_slice(key))) return true;
  }
  return error_set(error, ERROR_FORMAT, "The \"answerKey\" \"%.*s\" is none of the labels.",
                   SLICE_ARGS(json_slice(key)));
}

/* An index, or the letter of one. */
static bool index_read(const json_t *value, struct line *line, struct error *error) {
  json_int_t index = json_is_integer(value) ? json_integer_value(value) : -1;
  const char *letter = json_is_string(value) && json_string_length(value) == 1
                           ? memchr(letters, json_string_value(value)[0], sizeof letters - 1)
                           : NULL;
  if (letter) index = letter - letters;
  line->answer = index >= 0 && index < line->n_choice ? (int)index : -1;
  return line->answer >= 0 ||
         error_set(error, ERROR_FORMAT, "The \"answer\" is not one of the %d choices; expected 0 to %d, or A to %c.",
                   line->n_choice, line->n_choice - 1, letters[line->n_choice - 1]);
}

static bool reference_read(const json_t *answer, struct line *line, struct error *error) {
  static const char mark[] = "#### ";
  line->reference = json_slice(answer);
  return memmem(line->reference.data, line->reference.size, mark, sizeof mark - 1) ||
         error_set(error, ERROR_FORMAT, "The \"answer\" does not end in \"#### \" and a number, as those of GSM8K do.");
}

static bool fields_read(const json_t *root, struct line *line, struct error *error) {
  const json_t *question = json_object_get(root, "question"), *choices = json_object_get(root, "choices");
  const json_t *answer = json_object_get(root, "answer"), *subject = json_object_get(root, "subject");
  *line = (struct line){.layout = json_is_array(choices)               ? LAYOUT_MMLU
                                  : json_is_object(choices)            ? LAYOUT_ARC
                                  : !choices && json_is_string(answer) ? LAYOUT_GSM8K
                                                                       : 0};
  if (!json_is_string(question) || !line->layout)
    return error_set(error, ERROR_FORMAT,
                     "The line has no layout that is known: MMLU's (\"question\", \"choices\", \"answer\"), ARC's "
                     "(\"question\", \"choices\" of \"text\" and \"label\", \"answerKey\") or GSM8K's (\"question\", "
                     "\"answer\").");
  line->question = json_slice(question);
  if (json_is_string(subject)) line->subject = json_slice(subject);
  switch (line->layout) {
  case LAYOUT_MMLU: return choices_read(choices, line, error) && index_read(answer, line, error);
  case LAYOUT_ARC:
    return choices_read(json_object_get(choices, "text"), line, error) &&
           key_read(json_object_get(choices, "label"), json_object_get(root, "answerKey"), line, error);
  case LAYOUT_GSM8K: return reference_read(answer, line, error);
  }
  return false;
}

/* --- prompts ------------------------------------------------------------------------------------------------------ */

static void slice_write(struct buffer *out, struct slice text) { buffer_append(out, text.data, text.size); }

static bool is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

static struct slice stripped(struct slice text) {
  while (text.size > 0 && is_space(text.data[text.size - 1])) text.size--;
  for (; text.size > 0 && is_space(text.data[0]); text.size--) text.data++;
  return text;
}

static void question_write(struct buffer *out, const struct line *line) {
  if (line->layout != LAYOUT_MMLU) {
    buffer_text(out, "Question: ");
    slice_write(out, line->question);
  } else {
    slice_write(out, stripped(line->question));
    for (int i = 0; i < line->n_choice; i++) {
      buffer_print(out, "\n%c. ", letters[i]);
      slice_write(out, line->choice[i]);
    }
  }
  buffer_text(out, "\nAnswer:");
}

static void shot_write(struct buffer *out, const struct line *line) {
  question_write(out, line);
  buffer_text(out, " ");
  if (line->layout == LAYOUT_MMLU)
    buffer_append(out, &letters[line->answer], 1);
  else
    slice_write(out, line->layout == LAYOUT_ARC ? line->choice[line->answer] : line->reference);
  buffer_text(out, "\n\n");
}

static void description_write(struct buffer *out, const struct line *line) {
  if (line->layout != LAYOUT_MMLU || line->subject.size == 0) return;
  buffer_text(out, "The following are multiple choice questions (with answers) about ");
  for (size_t i = 0; i < line->subject.size; i++)
    buffer_append(out, line->subject.data[i] == '_' ? " " : (const char *)&line->subject.data[i], 1);
  buffer_text(out, ".\n\n");
}

/* --- files -------------------------------------------------------------------------------------------------------- */

struct reading {
  struct eval_task *task;
  struct buffer shots;  /* answered questions, each with the empty line that follows it */
  struct buffer prompt; /* of the item that is being made */
  size_t most;          /* items of the task */
};

static struct slice text_keep(struct arena *arena, struct slice text) {
  return slice_make(arena_text(arena, text), text.size); /* data NULL: no room */
}

static bool item_keep(struct eval_task *task, const struct line *line, struct slice context, struct error *error) {
  struct eval_item item = {.n_choice = line->n_choice, .answer = line->answer};
  bool kept = (item.context = text_keep(&task->arena, context)).data &&
              (item.reference = text_keep(&task->arena, line->reference)).data &&
              (item.choices = arena_array(&task->arena, (size_t)line->n_choice, sizeof *item.choices));
  for (int i = 0; kept && i < line->n_choice; i++) {
    bool letter = line->layout == LAYOUT_MMLU;
    item.choices[i] = letter ? slice_make(&letters[i], 1) : text_keep(&task->arena, line->choice[i]);
    kept = item.choices[i].data != NULL;
  }
  if (kept && task->n_item == task->capacity) {
    size_t capacity = task->capacity ? 2 * task->capacity : 64;
    struct eval_item *items = realloc(task->items, capacity * sizeof *items);
    kept = items != NULL;
    if (kept) {
      task->items = items;
      task->capacity = capacity;
    }
  }
  if (!kept) return error_set(error, ERROR_LIMIT, "The task does not fit in %d MiB.", LIMIT_EVAL_TASK_BYTES >> 20);
  task->items[task->n_item++] = item;
  return true;
}

static bool item_make(struct reading *reading, const struct line *line, struct error *error) {
  buffer_clear(&reading->prompt);
  description_write(&reading->prompt, line);
  slice_write(&reading->prompt, buffer_slice(&reading->shots));
  question_write(&reading->prompt, line);
  if (reading->prompt.failed)
    return error_set(error, ERROR_LIMIT, "The prompt is longer than %d bytes.", LIMIT_EVAL_PROMPT_BYTES);
  return item_keep(reading->task, line, buffer_slice(&reading->prompt), error);
}

/* An answered question, for all prompts. */
static bool shot_make(struct reading *reading, const struct line *line, struct error *error) {
  shot_write(&reading->shots, line);
  return !reading->shots.failed ||
         error_set(error, ERROR_LIMIT,
                   "The answered questions up to here are longer than %d bytes, which are all that a prompt may have; "
                   "give fewer.",
                   LIMIT_EVAL_PROMPT_BYTES);
}

static bool line_take(struct reading *reading, struct slice text, bool is_shot, struct error *error) {
  struct eval_task *task = reading->task;
  struct line line;
  if (text.size > LIMIT_EVAL_LINE_BYTES)
    return error_set(error, ERROR_LIMIT, "The line has %zu bytes, expected at most %d.", text.size,
                     LIMIT_EVAL_LINE_BYTES);
  json_t *root = json_parse(text, error);
  bool taken = root && fields_read(root, &line, error);
  if (taken && task->layout && task->layout != line.layout)
    taken = error_set(error, ERROR_FORMAT, "The line has the layout of %s, those before it that of %s.",
                      eval_layout_name(line.layout), eval_layout_name(task->layout));
  if (taken) {
    task->layout = line.layout;
    taken = is_shot ? shot_make(reading, &line, error) : item_make(reading, &line, error);
  }
  json_decref(root);
  return taken;
}

static bool lines_take(struct reading *reading, const char *path, bool is_shot, struct error *error) {
  struct file file;
  bool taken = true;
  size_t number = 0;
  if (!file_open(&file, path, error)) return false;
  for (size_t at = 0, end; taken && at < file.size; at = end + 1) {
    const uint8_t *stop = memchr(file.data + at, '\n', file.size - at);
    end = stop ? (size_t)(stop - file.data) : file.size;
    struct slice text = stripped(slice_make(file.data + at, end - at));
    number++;
    if (text.size == 0) continue;
    if (!is_shot && reading->task->n_item == reading->most) break;
    taken = line_take(reading, text, is_shot, error);
  }
  file_close(&file);
  return taken || error_prefix(error, "%s, line %zu: ", path, number);
}

static bool shots_take(struct reading *reading, const char *path, struct error *error) {
  return lines_take(reading, path, true, error) &&
         (reading->shots.size > 0 ||
          error_set(error, ERROR_FORMAT, "%s has no lines of JSON: there are no answered questions.", path));
}

bool eval_task_read(struct eval_task *task, const char *path, const char *shots, int max_items, struct error *error) {
  struct reading reading = {.task = task, .most = max_items > 0 ? (size_t)max_items : SIZE_MAX};
  *task = (struct eval_task){0};
  arena_init(&task->arena, LIMIT_EVAL_TASK_BYTES);
  buffer_init(&reading.shots, LIMIT_EVAL_PROMPT_BYTES);
  buffer_init(&reading.prompt, LIMIT_EVAL_PROMPT_BYTES);
  bool done = (!shots || shots_take(&reading, shots, error)) && lines_take(&reading, path, false, error) &&
              (task->n_item > 0 || error_set(error, ERROR_FORMAT, "%s has no lines of JSON: there is no task.", path));
  buffer_release(&reading.shots);
  buffer_release(&reading.prompt);
  if (!done) eval_task_release(task);
  return done;
}

void eval_task_release(struct eval_task *task) {
  arena_release(&task->arena);
  free(task->items);
  *task = (struct eval_task){0};
}
