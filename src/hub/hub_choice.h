/* Which files of a repository make a model: safetensors with what describes them, or one GGUF file with its parts and,
 * where there is one, the encoder of images beside it. Files of pickle run code when they are loaded: never those. */
#ifndef SPATE_HUB_HUB_CHOICE_H
#define SPATE_HUB_HUB_CHOICE_H

#include "hub/hub_listing.h"

enum hub_kind { HUB_SAFETENSORS, HUB_GGUF };

struct hub_choice {
  enum hub_kind kind;
  const struct hub_file *model;     /* the GGUF file, or the first of its parts; NULL of safetensors */
  const struct hub_file *projector; /* the encoder beside it, or NULL */
  const struct hub_file *index;     /* of safetensors in several files, which it names; NULL: there is one */
};

extern const char hub_index_name[]; /* model.safetensors.index.json */

/* Marks what is wanted of the listing. asked: of a hub_id. where ("The repository ORG/NAME") begins the sentences. */
bool hub_choose(struct hub_listing *listing, const char *asked, const char *where, struct hub_choice *choice,
                struct error *error);

/* Marks the files that an index names. */
bool hub_choose_shards(struct hub_listing *listing, struct slice index_json, const char *where, struct error *error);

#endif
