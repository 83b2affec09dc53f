/* Files of results of evaluations, for the commands that write and plot them. */
#ifndef SPATE_CLI_RESULT_FILE_H
#define SPATE_CLI_RESULT_FILE_H

#include "cli/option.h"
#include "spate.h"

/* Returns the process's exit code, after printing a sentence if it is not 0. */
int result_write(const char *path, const spate_text *text);

/* Writes the JSON where --json says, and where --plot says a picture of it and of the files of --result. own: NULL:
 * there are only those files. Returns the process's exit code, after printing a sentence if it is not 0. */
int results_write(const struct settings *settings, const spate_text *own);

#endif
