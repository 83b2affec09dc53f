/* The chat template that an engine has of those of a model. */
#ifndef SPATE_BUILD_CHAT_CHOICE_H
#define SPATE_BUILD_CHAT_CHOICE_H

#include "model/tool_template.h"

/* *source: what the model's pair was joined to, which stays unless its part for tools alone is of no use: then it
 * becomes the usual one. What a user is to know is in *warning (its text is empty: nothing). False: no memory. `name`
 * is the model's. */
bool chat_choose(const char *name, struct template_pair pair, struct slice *source, struct error *warning,
                 struct error *error);

#endif
