/* An engine without a usable chat template serves prompts; one without one for tools tells of them by its usual one. */
#include "build/chat_choice.h"

#include "base/limits.h"
#include "text/chat_template.h"

/* *usable: it compiles; else *problem says why not. */
static bool source_check(struct slice source, bool *usable, struct error *problem, struct error *error) {
  *problem = (struct error){0};
  struct chat_template *template = chat_template_open(source, problem);
  *usable = template != NULL;
  chat_template_close(template);
  return problem->code != ERROR_MEMORY || error_set(error, ERROR_MEMORY, "%s", problem->text);
}

static void refuses(const char *name, const struct error *problem, struct error *warning) {
  error_set(warning, problem->code, "%s will serve prompts but refuse conversations. %s", name, problem->text);
}

static void tools_left_out(const char *name, const struct error *problem, struct error *warning) {
  static const char part[] = TOOL_TEMPLATE;
  error_set(warning, problem->code,
            "The chat template \"%s\" of %s is left out, and conversations with tools have its usual one. %s", part,
            name, problem->text);
}

/* Of two that do not compile together: the usual one if that does. */
static bool usual_choose(const char *name, struct template_pair pair, struct slice *source,
                         const struct error *together, struct error *warning, struct error *error) {
  struct error problem;
  bool usual, tools;
  if (!source_check(pair.usual, &usual, &problem, error)) return false;
  if (!usual) {
    refuses(name, &problem, warning);
    return true;
  }
  if (!source_check(pair.tools, &tools, &problem, error)) return false;
  *source = pair.usual;
  tools_left_out(name, tools ? together : &problem, warning);
  return true;
}

bool chat_choose(const char *name, struct template_pair pair, struct slice *source, struct error *warning,
                 struct error *error) {
  struct error problem;
  bool usable, apart = pair.tools.size > 0 && source->data == pair.usual.data;
  *warning = (struct error){0};
  if (source->size == 0) return true;
  if (!source_check(*source, &usable, &problem, error)) return false;
  if (!usable && pair.tools.size > 0 && !apart) return usual_choose(name, pair, source, &problem, warning, error);
  if (!usable) refuses(name, &problem, warning);
  if (!usable || !apart) return true;
  error_set(&problem, ERROR_LIMIT, "Both have %zu bytes, more than fit into the %d of one.",
            pair.usual.size + pair.tools.size, LIMIT_TEMPLATE_BYTES);
  tools_left_out(name, &problem, warning);
  return true;
}
