/* What a model is called on the Hugging Face hub, as its own tools, llama.cpp's -hf and ollama spell it:
 * [hf.co/]ORG/NAME[:FILE or :QUANT][@REVISION], or NAME alone, as the oldest models are called. */
#ifndef SPATE_HUB_HUB_ID_H
#define SPATE_HUB_HUB_ID_H

#include "base/error.h"

enum { HUB_REPOSITORY_BYTES = 97, HUB_CHOICE_BYTES = 512, HUB_REVISION_BYTES = 256 };

struct hub_id {
  char repository[HUB_REPOSITORY_BYTES]; /* ORG/NAME, or NAME */
  char choice[HUB_CHOICE_BYTES];         /* a file's name, or a part of it such as Q4_K_M; "": what there is */
  char revision[HUB_REVISION_BYTES];     /* a branch, a tag or a commit; "main" when none was given */
};

/* Refuses what the hub has no name for. */
bool hub_id_parse(struct hub_id *id, const char *text, struct error *error);

/* 40 hexadecimal digits in small letters. */
bool hub_is_commit(const char *text);

#endif
