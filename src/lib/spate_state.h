/* What the library's files share: the engine behind spate_engine, and the mapping of its errors. */
#ifndef SPATE_LIB_SPATE_STATE_H
#define SPATE_LIB_SPATE_STATE_H

#include "runtime/runtime.h"
#include "spate.h"
#include "text/chat_template.h"

struct spate_engine {
  struct loaded_engine *loaded;
  struct tokenizer *tokenizer;
  struct chat_template *chat; /* NULL: chat_problem says why */
  struct error chat_problem;
  struct runtime *runtime;
  struct decode_pool *decoders;           /* NULL: images_problem says why */
  char *image_helper, *decode_command[3]; /* owned; of the decoders, where it is not this program */
  struct image_form image_form;
  struct error images_problem;
};

struct spate_inbox {
  struct runtime *runtime;
  struct inbox *inbox;
};

/* The internal codes and the public ones are the same list. */
_Static_assert((int)SPATE_TIMEOUT == (int)ERROR_TIMEOUT, "one list of codes");
_Static_assert(sizeof(((spate_error *)0)->text) == ERROR_TEXT_MAX, "one length of sentences");

static inline bool error_export(const struct error *from, spate_error *to) {
  if (!to) return false;
  to->code = (spate_code)from->code;
  memcpy(to->text, from->text, sizeof to->text);
  return false;
}

/* A buffer's bytes as a public text, which takes them over; the buffer is released on failure. */
bool text_export(struct buffer *buffer, spate_text *text, struct error *error);

#endif
