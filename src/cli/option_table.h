/* The table that --help, the command line, spate.yaml, the environment, man pages and completions are read from. */
#ifndef SPATE_CLI_OPTION_TABLE_H
#define SPATE_CLI_OPTION_TABLE_H

#include "base/slice.h"
#include "cli/option.h"

/* UNSET is a flag that takes back another one. */
enum option_kind {
  OPTION_FLAG,
  OPTION_UNSET,
  OPTION_INT,
  OPTION_SEED,
  OPTION_REAL,
  OPTION_BYTES,
  OPTION_TEXT,
  OPTION_LIST
};

struct option {
  const char *name;
  char letter; /* short form, or 0 */
  enum option_kind kind;
  unsigned commands;
  size_t field; /* offset in struct settings */
  size_t given; /* offset of a bool set when the option is given; 0: none (the first field is not a bool) */
  const char *value, *help;
  const char *words;  /* all that a text may be, with | between; in capitals: in either case. NULL: any text */
  double least, most; /* of a number; both 0: any */
  bool secret;        /* never shown */
};

extern const struct option options[];
extern const int option_count;

/* Where a value stands: on the command line, in the environment or in a line of a file. */
struct place {
  enum source source;
  const char *file;
  int line;
};

static inline bool option_is_switch(const struct option *option) {
  return option->kind == OPTION_FLAG || option->kind == OPTION_UNSET;
}

/* The option of a command by its name; NULL when there is none. */
const struct option *option_named(unsigned command, struct slice name);

/* Has it a line in spate.yaml and a variable? Those of serve do, but for what only makes sense on a command line, and
 * --no-X beside --X. */
bool option_is_setting(const struct option *option);

/* The one whose name is nearest to what does not exist, with at most `most` changes; NULL when none is near. */
const struct option *option_nearest(unsigned command, struct slice name, bool (*is_meant)(const struct option *),
                                    size_t most);

/* A value, a switch's too ("true" or "false"). It is kept by pointer. False with a sentence that begins with the place.
 */
bool option_set(struct settings *settings, const struct option *option, const char *given, const struct place *place,
                char text[512]);

/* What its value may be: "a whole number from 0 to 65535". */
enum { EXPECTED_MAX = 160 };
void option_expect(const struct option *option, char out[EXPECTED_MAX]);

/* Of settings->origin the one that says where the value of its field comes from. Options that write the same field
 * share it. */
int option_origin(const struct option *option);

/* SPATE_ and the name in capitals, with _ for -. */
enum { VARIABLE_MAX = 64 };
void option_variable(const struct option *option, char variable[VARIABLE_MAX]);

#endif
