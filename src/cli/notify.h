/* What a service manager is told, by sd_notify's protocol: one datagram of lines NAME=VALUE to the socket that
 * NOTIFY_SOCKET names. Without such a manager nothing is sent. The main thread's; a message that cannot be sent is
 * lost, as the manager's own deadlines are there for that. */
#ifndef SPATE_CLI_NOTIFY_H
#define SPATE_CLI_NOTIFY_H

#include <stdbool.h>

void notify_send(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Half of the time within which the manager wants to hear that this process is alive; 0 when it asks for nothing. */
int notify_watchdog_ms(void);

/* Keeps a start or a stop from running into its deadline for as many seconds. */
void notify_extend(int seconds);

#endif
