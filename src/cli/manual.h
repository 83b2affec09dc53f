/* Man pages, written in mdoc from the tables of commands and options to standard output. */
#ifndef SPATE_CLI_MANUAL_H
#define SPATE_CLI_MANUAL_H

#include "cli/command.h"

void manual_print_overview(void);                         /* spate(1) */
void manual_print_command(const struct command *command); /* spate-NAME(1) */
void manual_print_settings(void);                         /* spate.yaml(5) */

#endif
