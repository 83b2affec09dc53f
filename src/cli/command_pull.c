/* spate pull: a model from the Hugging Face hub; its path in the cache goes to standard output. */
#include "base/error.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "pull/pull.h"

#include <signal.h>
#include <string.h>

static bool pull_show(void *user, const char *file, uint64_t done, uint64_t total) {
  const char *slash = file ? strrchr(file, '/') : NULL;
  return file ? progress_show(user, slash ? slash + 1 : file, done, total) : !progress_interrupted();
}

static void pull_note(void *user, const char *sentence) {
  (void)user;
  sentence_print(stderr, "spate", sentence);
}

static int pull_fail(const struct settings *settings, const struct error *error) {
  char text[ERROR_TEXT_MAX];
  if (error->code != ERROR_CANCELLED) return command_fail(error->text);
  snprintf(text, sizeof text, "Interrupted: spate pull %.200s goes on where it was.", settings->operand);
  return command_fail(text);
}

int command_pull(const struct settings *settings) {
  struct pull_result result;
  struct progress progress;
  struct error error;
  struct pull_options options = {.progress = pull_show, .note = pull_note, .user = &progress};
  if (!hub_id_parse(&options.id, settings->operand, &error)) return command_fail(error.text);
  signal(SIGPIPE, SIG_IGN); /* a server that closes a connection is told by the write */
  progress_begin(&progress);
  progress.bytes = true;
  bool done = pull_run(&options, &result, &error);
  progress_end(&progress);
  if (!done) return pull_fail(settings, &error);
  if (result.n_file > 0) /* offline nothing is counted */
    fprintf(stderr, "%s: %d files, %.1f MB, %.1f of them fetched now\n", options.id.repository, result.n_file,
            (double)result.bytes / 1e6, (double)result.fetched / 1e6);
  puts(result.path);
  return 0;
}
