/* Settings from a file and from the environment. What sets an option later overrides what has set it before: defaults,
 * the file, the environment, the command line. */
#ifndef SPATE_CLI_CONFIG_H
#define SPATE_CLI_CONFIG_H

#include "base/arena.h"
#include "base/buffer.h"
#include "cli/option.h"

/* Sets the options of a command from a YAML file of lines "name: value". Texts are kept in the arena. False with a
 * sentence that begins with the file and the line. */
bool config_file_read(struct settings *settings, unsigned command, const char *path, struct arena *texts,
                      char text[512]);

/* The same from bytes, for tests; path is what sentences call them. */
bool config_bytes_read(struct settings *settings, unsigned command, const char *path, struct slice bytes,
                       struct arena *texts, char text[512]);

/* From variables such as SPATE_PORT, but for options that `line`, the parsed command line, gives: a variable may be
 * somebody else's. One that is almost a variable of ours is refused, as it may hold a key that was to be asked for. */
bool config_environment_read(struct settings *settings, unsigned command, const struct settings *line,
                             char *const *environment, char text[512]);

/* All four for one command, which names its file by --config or SPATE_CONFIG. Of a socket's path and an address to
 * listen on the one that was set last is left. False with a sentence, also where both were set in one place. */
bool config_resolve(struct settings *settings, unsigned command, int argc, char **argv, struct arena *texts,
                    char text[512]);

/* Every setting of the command as a file that gives the same settings, each with where it comes from; those that
 * nothing has set as comments that say the default. */
bool config_print(const struct settings *settings, unsigned command, struct buffer *out);

/* The same of what is set alone, without where it comes from, for another file. */
bool config_write(const struct settings *settings, unsigned command, struct buffer *out);

#endif
