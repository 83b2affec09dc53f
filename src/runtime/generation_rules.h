/* What a request asks of its tokens: checked, then compiled into the rules that every step's batch points at. */
#ifndef SPATE_RUNTIME_GENERATION_RULES_H
#define SPATE_RUNTIME_GENERATION_RULES_H

#include "engine/engine_config.h"
#include "plan/batch.h"
#include "text/tokenizer.h"

/* `rules` with what the request gives as it is: numbers, bias, allowed; end and bad are made from the rest. */
struct rule_params {
  struct logit_rules rules;
  const struct slice *bad_word; /* texts, each also with a space before it */
  int32_t n_bad_word;
  const int32_t *stop_token; /* end the text like the model's own ends */
  int32_t n_stop_token;
  bool ignore_end; /* the model's own ends do not */
};

/* Numbers within their ranges, ids within the vocabulary, lists within their limits. The sentences name the fields of
 * a request over HTTP. */
bool sampling_check(const struct sampling *sampling, int32_t vocab, struct error *error);
bool rule_params_check(const struct rule_params *params, int32_t max_tokens, int32_t vocab, struct error *error);

/* Checked parameters compiled into one allocation, which is *rules itself: free() it. NULL with a sentence when a bad
 * word has no tokens or memory is short. Any thread. */
struct logit_rules *rules_compile(const struct rule_params *params, const struct tokenizer *tokenizer,
                                  const struct engine_generation *defaults, int32_t vocab, struct error *error);

/* Does the token end the sequence? */
bool rules_is_end(const struct logit_rules *rules, int32_t token);

/* Is it among the n_stop_token that the request added to the model's own ends? They are the last of the rules' ends. */
bool rules_is_stop(const struct logit_rules *rules, int32_t n_stop_token, int32_t token);

/* Bytes that rules_compile may take, for the request's charge. */
size_t rules_charge(const struct rule_params *params);

#endif
