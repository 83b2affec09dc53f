/* What makes shells complete commands, options and words, from the tables of commands and options. */
#ifndef SPATE_CLI_COMPLETION_H
#define SPATE_CLI_COMPLETION_H

/* To standard output, for "bash", "zsh" or "fish". */
void completion_print(const char *shell);

#endif
