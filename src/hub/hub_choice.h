/* Which files of a repository make a model: safetensors with what describes them, or one GGUF file with its parts and,
 * where there is one, the encoder of images beside it. Of PyTorch's files those that
 * Spate reads without running what they say (format/torch_file.h), and only where there is nothing else. */
#ifndef SPATE_HUB_HUB_CHOICE_H
#define SPATE_HUB_HUB_CHOICE_H

#include "hub/hub_listing.h"

enum hub_kind { HUB_FOLDER, HUB_GGUF };

struct hub_choice {
  enum hub_kind kind;
  const struct hub_file *model;     /* the GGUF file, or the first of its parts; NULL of a folder */
  const struct hub_file *projector; /* the encoder beside it, or NULL */
  const struct hub_file *index;     /* of weights in several files, which it names; NULL: there is one */
};

/* Marks what is wanted of the listing. asked: of a hub_id. where ("The repository ORG/NAME") begins the sentences. */
bool hub_choose(struct hub_listing *listing, const char *asked, const char *where, struct hub_choice *choice,
                struct error *error);

/* Marks the files that the index, of the choice, names; they end as the weights do that it is of. */
bool hub_choose_shards(struct hub_listing *listing, const struct hub_file *index, struct slice index_json,
                       const char *where, struct error *error);

#endif
