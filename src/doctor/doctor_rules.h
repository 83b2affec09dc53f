/* What of the facts is a finding: one table, a line for each symptom. A rule whose facts are not known finds nothing.
 */
#ifndef SPATE_DOCTOR_DOCTOR_RULES_H
#define SPATE_DOCTOR_DOCTOR_RULES_H

#include "doctor/fact.h"

enum rule_when { WHEN_NONE, WHEN_ABOVE, WHEN_BELOW };

struct rule_condition {
  enum fact_id fact;
  enum rule_when when; /* WHEN_NONE: there is no such condition */
  double bound;
};

enum { RULE_CONDITIONS = 3 };

struct rule {
  struct rule_condition condition[RULE_CONDITIONS]; /* the first is what the finding shows; all must hold */
  const char *symptom, *change; /* {name} stands for a fact's value, {name#} for it as options take it, {name*2} and
                                 {name/2} for twice and half of that, no more and no less than serve takes */
};

extern const struct rule doctor_rules[];
extern const int doctor_rule_count;

bool rule_holds(const struct rule *rule, const struct facts *facts);

enum { RULE_TEXT_MAX = 1024 };

/* A sentence with its facts put in; an unknown one is "unknown". False when it names a fact that there is not. */
bool rule_sentence(const char *sentence, const struct facts *facts, char out[RULE_TEXT_MAX]);

#endif
