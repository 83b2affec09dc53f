/* Any bytes as a task of JSON lines, after answered questions of any bytes where a NUL byte parts the two: what is read
 * has answers among its choices and texts that can be copied, and its references match as answers do. */
#include "build/answer_match.h"
#include "build/eval_task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char task_path[] = "/tmp/spate-fuzz-XXXXXX", shots_path[] = "/tmp/spate-fuzz-XXXXXX";
static struct answer_match match;

static void files_remove(void) {
  unlink(task_path);
  unlink(shots_path);
  answer_match_release(&match);
}

static void setup(void) {
  struct error error;
  int task = mkstemp(task_path), shots = mkstemp(shots_path);
  if (task < 0 || shots < 0 || !answer_match_init(&match, &error) || atexit(files_remove) != 0) abort();
  close(task);
  close(shots);
}

static void file_write(const char *path, const uint8_t *bytes, size_t size) {
  FILE *stream = fopen(path, "wb");
  if (!stream || fwrite(bytes, 1, size, stream) != size || fclose(stream) != 0) abort();
}

static void text_copy(struct slice text) {
  uint8_t *copy = malloc(text.size + 1);
  if (!copy || !text.data) abort();
  memcpy(copy, text.data, text.size);
  free(copy);
}

static void item_check(const struct eval_item *item) {
  text_copy(item->context);
  text_copy(item->reference);
  if (item->n_choice && (item->answer < 0 || item->answer >= item->n_choice)) abort();
  for (int i = 0; i < item->n_choice; i++) text_copy(item->choices[i]);
  if (item->n_choice) return;
  for (int filter = 0; filter < FILTER_COUNT; filter++)
    answer_matches(&match, (enum answer_filter)filter, item->context, item->reference);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static bool ready;
  struct eval_task task;
  struct error error;
  const uint8_t *end = size ? memchr(data, 0, size) : NULL;
  size_t shots = end ? (size_t)(end - data) : 0, first = end ? shots + 1 : 0;
  if (!ready) setup();
  ready = true;
  if (end) file_write(shots_path, data, shots);
  file_write(task_path, data + first, size - first);
  if (!eval_task_read(&task, task_path, end ? shots_path : NULL, 0, &error)) return 0;
  for (size_t i = 0; i < task.n_item; i++) item_check(&task.items[i]);
  eval_task_release(&task);
  return 0;
}
