/* Questions to evaluate with, from a file of JSON lines in the layout of a data set that lm-evaluation-harness has:
 *
 *   MMLU   {"question": "…", "choices": ["…", …], "answer": 1, "subject": "…"}     answer: an index or a letter
 *   ARC    {"question": "…", "choices": {"text": ["…", …], "label": ["A", …]}, "answerKey": "A"}
 *   GSM8K  {"question": "…", "answer": "… #### 42"}
 *
 * and with its prompts: of MMLU (mmlu_*) the lettered choices stand in the prompt and the letters are scored, of ARC
 * (arc_easy) the choices' texts are, an answer to GSM8K is generated. Other members are ignored. */
#ifndef SPATE_BUILD_EVAL_TASK_H
#define SPATE_BUILD_EVAL_TASK_H

#include "base/arena.h"
#include "base/error.h"

enum eval_layout { LAYOUT_MMLU = 1, LAYOUT_ARC, LAYOUT_GSM8K };

struct eval_item {
  struct slice context;  /* the prompt; what is scored follows after a space */
  struct slice *choices; /* [n_choice] */
  int n_choice;          /* 0: an answer is generated */
  int answer;            /* the right choice */
  struct slice reference;
};

struct eval_task {
  enum eval_layout layout;
  struct arena arena; /* of all texts */
  struct eval_item *items;
  size_t n_item, capacity;
};

/* The first max_items of a file (0: all), each after the answered questions of the file `shots` (NULL: none). */
bool eval_task_read(struct eval_task *task, const char *path, const char *shots, int max_items, struct error *error);
void eval_task_release(struct eval_task *task);

/* "mmlu", "arc", "gsm8k" */
const char *eval_layout_name(enum eval_layout layout);

#endif
