/* Facts and findings for people, and as JSON. */
#ifndef SPATE_DOCTOR_DOCTOR_REPORT_H
#define SPATE_DOCTOR_DOCTOR_REPORT_H

#include "base/buffer.h"
#include "doctor/doctor_rules.h"

enum { REPORT_BYTES_MAX = 1 << 20, PROBLEMS_MAX = 4 };

/* What could not be looked at, and why: a sentence each. */
struct problems {
  char text[PROBLEMS_MAX][RULE_TEXT_MAX];
  int count;
};

void problem_add(struct problems *problems, const char *sentence);

/* Rules that hold. */
int findings_count(const struct facts *facts);

bool report_write_text(const struct facts *facts, const struct problems *problems, struct buffer *out);
bool report_write_json(const struct facts *facts, const struct problems *problems, struct buffer *out);

#endif
