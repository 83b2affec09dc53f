/* What spate serve tells the server of its settings. */
#ifndef SPATE_CLI_SERVE_OPTIONS_H
#define SPATE_CLI_SERVE_OPTIONS_H

#include "cli/option.h"
#include "server/server.h"

int serve_connections(const struct settings *settings); /* that may be open at once */

/* Its texts are the settings'. */
struct server_options serve_options_of(const struct settings *settings);

#endif
