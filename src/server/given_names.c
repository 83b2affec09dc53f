#include "server/given_names.h"

#include "base/limits.h"
#include "base/log.h"

#include <string.h>

void given_names_init(struct given_names *names) {
  buffer_init(&names->text, (size_t)LIMIT_ADAPTER_ALIASES * 2 * (LIMIT_ADAPTER_NAME_BYTES + 1));
}

void given_names_release(struct given_names *names) { buffer_release(&names->text); }

static void name_note(void *user, const char *name, const char *path) {
  struct given_names *names = user;
  buffer_append(&names->text, name, strlen(name) + 1);
  buffer_append(&names->text, path ? path : "", path ? strlen(path) + 1 : 1);
}

void given_names_note(struct given_names *names, const spate_engine *engine) {
  buffer_clear(&names->text);
  spate_lora_given(engine, name_note, names);
}

/* Want of memory costs a name, not the engine. */
void given_names_give(const struct given_names *names, spate_engine *engine) {
  const char *at = names->text.data, *end = at + names->text.size;
  spate_error error;
  if (names->text.failed) {
    log_warning("There is no memory to take over the names that adapters were given by request.");
    return;
  }
  while (at < end) {
    const char *name = at, *path = name + strlen(name) + 1;
    at = path + strlen(path) + 1;
    if (!spate_lora_give(engine, name, *path ? path : NULL, &error))
      log_warning("The adapter's name \"%s\" is not taken over: %s", name, error.text);
  }
}
