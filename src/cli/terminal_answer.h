/* An answer on the terminal, for the commands that print one: its request from the options, its text as it comes. */
#ifndef SPATE_CLI_TERMINAL_ANSWER_H
#define SPATE_CLI_TERMINAL_ANSWER_H

#include "base/buffer.h"
#include "cli/option.h"
#include "spate.h"

/* The adapters of --lora, and their names' texts. */
struct lora_words {
  spate_lora lora[TEXT_LIST_MAX];
  char name[TEXT_LIST_MAX][256];
};

/* The engine's defaults, and the options that were given. Texts point into argv and *words. False with the sentence. */
bool request_fill(const struct settings *settings, const spate_engine *engine, spate_request *request,
                  struct lora_words *words, spate_error *error);

/* What --lora was given as. False with the sentence. */
bool loras_read(const struct text_list *given, struct lora_words *words, spate_error *error);

/* SIGINT stops the answer that is being printed; between begin and end it does nothing else. After end it does what it
 * did before: at once, if there was more than one. */
void interrupt_begin(void);
void interrupt_end(void);

/* Submits the request, prints its text on standard output as it comes and a line of figures on standard error at its
 * end. The text is also appended to *text, unless that is NULL; *last is its last event, whose own text is gone. False
 * with the sentence of a failure. */
bool answer_print(spate_engine *engine, spate_inbox *inbox, const spate_request *request, struct buffer *text,
                  spate_event *last, spate_error *error);

#endif
