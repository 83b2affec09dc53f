/* A request's rules (plan/batch.h) applied to a row of logits, before temperature and filters. */
#ifndef SPATE_BACKEND_LOGIT_RULES_H
#define SPATE_BACKEND_LOGIT_RULES_H

#include "plan/batch.h"

/* Is there anything to apply at this step? */
bool logit_rules_act(const struct sampling *sampling);

/* Bans (min_tokens, bad words) come off where they would leave no token to draw. */
enum rule_bans { RULES_WITH_BANS, RULES_WITHOUT_BANS };

/* x[vocab]: logits, changed in place; −∞ is a token that is not drawn. scratch: vocab words of 4 bytes; n_allowed may
 * not be more. In the order of sampler.h. O(history + ids), plus a pass over the vocabulary where only some tokens are
 * allowed. */
void logit_rules_apply(const struct sampling *sampling, int vocab, enum rule_bans bans, float *x, void *scratch);

#endif
