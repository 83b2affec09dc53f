/* The progress bar, and the signals that end what it shows. */
#include "cli/progress.h"

#include "base/clock.h"
#include "base/log.h"
#include "cli/notify.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
  BAR_WIDTH = 30,
  QUIET_US = 1000000,
  TOLD_US = 1000000,    /* between two messages to a service manager */
  PATIENCE_SECONDS = 90 /* that it may wait for the next one */
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal) {
  (void)signal;
  interrupted = 1;
}

void progress_begin(struct progress *p) {
  *p = (struct progress){0};
  struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
  sigaction(SIGINT, &action, &p->on_int);
  sigaction(SIGTERM, &action, &p->on_term);
}

bool progress_end(const struct progress *p) {
  sigaction(SIGINT, &p->on_int, NULL);
  sigaction(SIGTERM, &p->on_term, NULL);
  return !interrupted;
}

bool progress_interrupted(void) { return interrupted; }

struct progress progress_quiet(void) {
  return (struct progress){.quiet_until_us = clock_us() + QUIET_US};
}

/* A bar is for eyes: elsewhere each stage is a line. */
static bool bar_wanted(void) { return isatty(STDERR_FILENO) && log_format_get() == LOG_TEXT; }

static void stage_begin(struct progress *p, const char *stage) {
  snprintf(p->stage, sizeof p->stage, "%s", stage);
  p->start_us = p->last_us ? p->last_us : clock_us();
  if (log_format_get() == LOG_JSON)
    log_info("%s", stage);
  else if (!bar_wanted())
    fprintf(stderr, "%s ...\n", stage);
}

/* Other stages count something of their own: tokens, items, steps. */
static bool counts_bytes(const struct progress *p) {
  return p->bytes || strcmp(p->stage, "pack") == 0 || strcmp(p->stage, "encode") == 0;
}

static void amount_print(const struct progress *p, uint64_t done, uint64_t total) {
  double seconds = (double)(clock_us() - p->start_us) * 1e-6, rate = seconds > 0 ? (double)done / seconds : 0;
  if (counts_bytes(p))
    fprintf(stderr, " %.1f/%.1f MB  %.0f MB/s", (double)done / 1e6, (double)total / 1e6, rate / 1e6);
  else
    fprintf(stderr, " %llu/%llu", (unsigned long long)done, (unsigned long long)total);
  if (rate > 0 && done < total) fprintf(stderr, "  %.0f s left", (double)(total - done) / rate);
}

static void bar_print(const struct progress *p, uint64_t done, uint64_t total) {
  int full = total ? (int)((double)done / (double)total * BAR_WIDTH) : 0;
  fprintf(stderr, "\r\033[K%-10s [", p->stage);
  for (int i = 0; i < BAR_WIDTH; i++) fputc(i < full ? '#' : '.', stderr);
  fputc(']', stderr);
  amount_print(p, done, total);
  fputs(p->note, stderr);
  if (done >= total) fputc('\n', stderr);
  fflush(stderr);
}

bool progress_show(void *user, const char *stage, uint64_t done, uint64_t total) {
  struct progress *p = user;
  if (clock_us() - p->told_us > TOLD_US) {
    notify_extend(PATIENCE_SECONDS);
    p->told_us = clock_us();
  }
  if (clock_us() < p->quiet_until_us) return !interrupted;
  if (strncmp(p->stage, stage, sizeof p->stage - 1) != 0) stage_begin(p, stage);
  if (bar_wanted()) bar_print(p, done, total);
  p->last_us = clock_us();
  return !interrupted;
}
