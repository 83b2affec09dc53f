/* spate serve: opens the engine, serves it, and watches over both: SIGTERM and SIGINT drain the server, and so does an
 * engine that has stopped; SIGHUP reloads it. */
#include "base/clock.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/notify.h"
#include "cli/serve_options.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
  DEFAULT_SHUTDOWN = 30,   /* seconds that running requests get to finish after a signal */
  WATCH_MS = 200,          /* between two looks at the engine */
  DRAIN_WATCH_MS = 20,     /* between two looks at the connections of a drain */
  FLUSH_MS = 2000,         /* for the last bytes of answers that are complete */
  FAILED_DRAIN_MS = 2000,  /* to send the errors that a stopped engine leaves */
  STOP_SPARE_SECONDS = 10, /* beyond those of running requests, that a service manager waits for the end */
  SPARE_DESCRIPTORS = 256, /* beside those of connections: files, loops, connections being refused */
};

static volatile sig_atomic_t n_signal, n_hangup;
static int signal_fd = -1; /* readable after a signal, so that it ends a poll */

static void note_signal(int signal) {
  int saved = errno;
  uint64_t one = 1;
  if (signal == SIGHUP)
    n_hangup = n_hangup + 1;
  else
    n_signal = n_signal + 1;
  ssize_t written = write(signal_fd, &one, sizeof one);
  (void)written; /* the numbers are what counts */
  errno = saved;
}

/* Of a terminal that goes away SIGHUP means that whoever started us has gone: then it ends us, as it does others. */
static bool has_terminal(void) {
  int terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal >= 0) close(terminal);
  return terminal >= 0;
}

static bool signals_catch(void) {
  signal_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
  signal(SIGPIPE, SIG_IGN);
  return signal_fd >= 0 && sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0 &&
         (has_terminal() || sigaction(SIGHUP, &action, NULL) == 0);
}

static void signal_wait(int timeout_ms) {
  struct pollfd wait = {.fd = signal_fd, .events = POLLIN};
  uint64_t count;
  if (poll(&wait, 1, timeout_ms) <= 0) return;
  ssize_t size = read(signal_fd, &count, sizeof count);
  (void)size;
}

/* Each connection is a descriptor, and the usual soft limit is 1024. */
static void descriptors_raise(int connections) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  rlim_t wanted = (rlim_t)connections + SPARE_DESCRIPTORS;
  if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < wanted) {
    limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || limit.rlim_max > wanted ? wanted : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted)
      log_warning("Only %llu file descriptors are allowed where %d connections want %llu: raise ulimit -n.",
                  (unsigned long long)limit.rlim_cur, connections, (unsigned long long)wanted);
  }
}

/* What runs where, in the log: a GPU's memory is not the machine's. */
static void memory_log(const spate_engine_info *info) {
  log_info("Runs on %s: %llu MiB of weights, %llu MiB of KV cache in %s.", info->device,
           (unsigned long long)(info->weight_bytes >> 20), (unsigned long long)(info->kv_bytes >> 20), info->kv_dtype);
  log_info("Opening took %.3f s for the file, %.3f s for the device, %.3f s for memory and kernels.",
           info->file_seconds, info->device_seconds, info->program_seconds);
  if (info->weights_seconds > 0)
    log_info("The weights were copied in %.2f s (%.1f GB/s).", info->weights_seconds,
             (double)(info->weight_bytes + info->host_weight_bytes) / info->weights_seconds * 1e-9);
  if (info->cpu_experts > 0)
    log_info("The experts of %d layers, %llu MiB, stay in the host's memory, which the GPU reads at %.1f GB/s: of a "
             "token %.0f MB, so one stream has at most %.3g tokens a second.",
             info->cpu_experts, (unsigned long long)(info->host_weight_bytes >> 20), info->host_gbs,
             (double)info->host_token_bytes * 1e-6, info->host_gbs * 1e9 / (double)info->host_token_bytes);
}

/* A request that this engine answers: its path, and its body. */
struct example {
  const char *path, *body;
};

static struct example example_of(const spate_engine_info *info) {
  static const struct example vectors = {"/v1/embeddings", "{\"input\": [\"A cat.\", \"A dog.\"]}"},
                              labels = {"/v1/classify", "{\"input\": [\"A good day.\"]}"},
                              pairs = {"/v1/rerank",
                                       "{\"query\": \"A pet?\", \"documents\": [\"A cat.\", \"A car.\"]}"},
                              text = {"/generate", "{\"prompt\": \"The capital of France is\", \"max_tokens\": 32}"};
  if (info->task == SPATE_TASK_CLASSIFY) return info->vector_size == 1 ? pairs : labels;
  return info->task == SPATE_TASK_EMBED ? vectors : text;
}

static void welcome_print(const struct server_options *options, int port, const spate_engine_info *info) {
  const char *host = options->host, *scheme = options->tls_cert ? "https" : "http";
  if (options->uds) {
    printf("Serving %s on %s at %s (%s)\n\n  curl --unix-socket %s %s://localhost/health\n\n", info->name, scheme,
           options->uds, info->device, options->uds, scheme);
    fflush(stdout);
    return;
  }
  if (strcmp(host, "0.0.0.0") == 0) host = "127.0.0.1"; /* an address to connect to */
  if (strcmp(host, "::") == 0) host = "::1";
  const struct example example = example_of(info);
  const char *open = strchr(host, ':') ? "[" : "", *close = strchr(host, ':') ? "]" : "";
  printf("Serving %s on %s://%s%s%s:%d (%s)\n\n"
         "  curl %s://%s%s%s:%d%s -H 'Content-Type: application/json' \\\n"
         "    -d '%s'\n\n",
         info->name, scheme, open, host, close, port, info->device, scheme, open, host, close, port, example.path,
         example.body);
  fflush(stdout);
}

/* A service manager's watchdog: it hears of the engine's progress, not of this thread's. */
struct watchdog {
  int every_ms; /* 0: nobody watches */
  uint64_t fed_us;
};

static void watchdog_feed(struct watchdog *watchdog, struct server *server) {
  spate_error error;
  if (!watchdog->every_ms || clock_us() - watchdog->fed_us < (uint64_t)watchdog->every_ms * 1000) return;
  if (!server_healthy(server, &error)) return;
  notify_send("WATCHDOG=1");
  watchdog->fed_us = clock_us();
}

/* Lets running requests finish while new ones are told to go elsewhere, on a port that is still open for whoever asks
 * whether we are ready. */
static void running_finish(struct server *server, struct watchdog *watchdog, int seconds) {
  uint64_t end = clock_us() + (uint64_t)seconds * 1000000;
  server_refuse(server);
  while (server_running(server) > 0 && n_signal == 1 && clock_us() < end) {
    signal_wait(DRAIN_WATCH_MS);
    watchdog_feed(watchdog, server);
  }
  if (server_running(server) > 0) server_cancel(server); /* their answers say so */
  server_drain(server, FLUSH_MS);
}

/* What a service manager asks for by SIGHUP: it hears when the reload begins and when it has ended, however it has. */
struct reloading {
  sig_atomic_t n_hangup; /* dealt with */
  bool told;             /* that a reload is under way */
};

static void hangups_heed(struct reloading *reloading, struct server *server) {
  spate_error error;
  if (reloading->told && !server_reloading(server)) {
    notify_send("READY=1\nSTATUS=Serving.");
    reloading->told = false;
  }
  if (n_hangup == reloading->n_hangup || reloading->told) return;
  sig_atomic_t heard = n_hangup;
  bool begun = server_reload(server, &error);
  if (!begun && error.code == SPATE_BUSY) return; /* what is under way may have opened the file before it was changed */
  reloading->n_hangup = heard;
  if (!begun) {
    log_warning("SIGHUP is passed over. %s", error.text);
    return;
  }
  notify_send("RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reloading the engine.", (unsigned long long)clock_us());
  reloading->told = true;
}

/* Returns when the server has been told to drain: 0 after a signal, 1 when the engine has stopped. */
static int engine_watch(struct server *server, int shutdown_seconds) {
  spate_error error;
  struct reloading reloading = {0};
  struct watchdog watchdog = {.every_ms = notify_watchdog_ms()};
  int wait_ms = watchdog.every_ms && watchdog.every_ms < WATCH_MS ? watchdog.every_ms : WATCH_MS;
  while (n_signal == 0) {
    watchdog_feed(&watchdog, server);
    hangups_heed(&reloading, server);
    signal_wait(wait_ms);
    if (server_healthy(server, &error) || error.code != SPATE_DEVICE) continue; /* what may pass, /health tells */
    notify_send("STOPPING=1\nSTATUS=%s", error.text);
    server_drain(server, FAILED_DRAIN_MS);
    return command_fail(error.text);
  }
  log_info("Stopping: %d requests may finish within %d seconds; a second signal cancels them.", server_running(server),
           shutdown_seconds);
  notify_send("STOPPING=1\nSTATUS=Stopping: running requests finish.");
  notify_extend(shutdown_seconds + STOP_SPARE_SECONDS);
  running_finish(server, &watchdog, shutdown_seconds);
  return 0;
}

/* The last bytes of the answers; one signal more and not even those. */
static void drain_watch(struct server *server, int signals_before) {
  while (server_connections(server) > 0 && n_signal <= signals_before) signal_wait(DRAIN_WATCH_MS);
  if (n_signal > signals_before) server_drain(server, 0);
  server_join(server);
}

/* What there is to say of an engine, which may be replaced before it is said. */
struct opened {
  spate_engine_info info;
  char name[256], device[256];
};

static void opened_fill(struct opened *opened, const spate_engine *engine) {
  opened->info.size = sizeof opened->info;
  spate_info(engine, &opened->info);
  snprintf(opened->name, sizeof opened->name, "%s", opened->info.name);
  snprintf(opened->device, sizeof opened->device, "%s", opened->info.device);
  opened->info.name = opened->name;
  opened->info.device = opened->device;
}

/* The engine is the server's from here on. */
static int engine_serve(const struct settings *settings, spate_engine *engine) {
  struct server_options options = serve_options_of(settings);
  int shutdown = settings->has_shutdown_timeout ? settings->shutdown_timeout : DEFAULT_SHUTDOWN;
  spate_build_options build;
  spate_open_options again;
  spate_error error;
  struct opened opened;
  opened_fill(&opened, engine);
  open_options_fill(settings, &build, &again);
  struct server *server = server_open(engine, &again, &options, &error);
  if (!server) return command_fail(error.text);
  memory_log(&opened.info);
  welcome_print(&options, server_port(server), &opened.info);
  notify_send("READY=1\nSTATUS=Serving.");
  int code = engine_watch(server, shutdown);
  drain_watch(server, n_signal);
  server_close(server);
  return code;
}

/* The option table has checked the words. */
static void log_set_up(const struct settings *settings) {
  enum log_level level = LOG_INFO;
  enum log_format format = LOG_TEXT;
  if (settings->log_level) log_level_parse(settings->log_level, &level);
  if (settings->log_format) log_format_parse(settings->log_format, &format);
  log_level_set(level);
  log_format_set(format);
}

int command_serve(const struct settings *settings) {
  log_set_up(settings);
  spate_engine *engine = command_open(settings);
  if (!engine) return 1;
  descriptors_raise(serve_connections(settings));
  if (signals_catch()) return engine_serve(settings, engine);
  spate_close(engine);
  return command_fail("The system refused a descriptor for signals.");
}
