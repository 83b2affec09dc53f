/* Pages in mdoc (man 7 mdoc): one sentence a line, lines that are short, characters that roff would change escaped. */
#include "cli/manual.h"

#include "cli/option_table.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define MANUAL_DATE                                                                                                    \
  "November 26, 2026" /* of the text here; the pages have no other, so that builds are the same bytes */

enum { LINE_WIDTH = 66 };

static void letter_print(char letter) {
  switch (letter) {
  case '\\': fputs("\\e", stdout); return;
  case '-': fputs("\\-", stdout); return;
  case '~': fputs("\\(ti", stdout); return;
  case '^': fputs("\\(ha", stdout); return;
  case '`': fputs("\\(ga", stdout); return;
  default: putchar(letter);
  }
}

static void word_print(const char *word, size_t size) {
  if (*word == '.' || *word == '\'') fputs("\\&", stdout);
  for (size_t i = 0; i < size; i++) letter_print(word[i]);
}

/* A paragraph; a line ends where a sentence does. */
static void text_print(const char *text) {
  size_t column = 0;
  for (bool ended = false; *text;) {
    size_t size = strcspn(text, " ");
    if (column && (ended || column + 1 + size > LINE_WIDTH)) {
      putchar('\n');
      column = 0;
    }
    if (column) column += (size_t)printf(" ");
    word_print(text, size);
    column += size;
    ended = size > 0 && text[size - 1] == '.' && !(size >= 3 && text[size - 2] == '.');
    text += size + strspn(text + size, " ");
  }
  putchar('\n');
}

/* Capital first and a full stop, as a phrase of a table has neither. */
static void phrase_print(const char *phrase) {
  char sentence[512];
  snprintf(sentence, sizeof sentence, "%c%s.", toupper((unsigned char)phrase[0]), phrase + 1);
  text_print(sentence);
}

static void upper_print(const char *text) {
  for (; *text; text++) putchar(toupper((unsigned char)*text));
}

static void head_print(const char *name, int section, const char *what) {
  printf(".\\\" Generated from the tables of src/cli/.\n.Dd " MANUAL_DATE "\n.Dt ");
  upper_print(name);
  printf(" %d\n.Os\n.Sh NAME\n.Nm %s\n.Nd ", section, name);
  text_print(what);
}

/* MODEL|ENGINE, in brackets when it may be left out. */
static void operand_print(const char *operand) {
  bool optional = *operand == '[';
  fputs(optional ? ".Op Ar " : ".Ar ", stdout);
  for (const char *at = operand + optional; *at && *at != ']'; at++) {
    if (*at == '|')
      fputs(" | ", stdout);
    else
      putchar(*at);
  }
  putchar('\n');
}

static void option_print(const struct option *option) {
  fputs(".It ", stdout);
  if (option->letter) printf("Fl %c , ", option->letter);
  fputs("Fl \\-", stdout);
  word_print(option->name, strlen(option->name));
  if (option->value) printf(" Ar %s", option->value);
  putchar('\n');
  text_print(option->help);
}

static void words_print(void) {
  printf(".Ar MODEL\nis a Hugging Face directory, a\n.Pa .gguf\nfile, or the name of a model that\n.Ic spate pull\nhas "
         "fetched;\n.Ar ENGINE\nis a file that\n.Ic spate build\nwrote.\n");
}

static void exit_print(void) { printf(".Sh EXIT STATUS\n0, or 1 after a sentence on standard error that says why.\n"); }

static void variables_print(void) {
  fputs(
      ".Sh ENVIRONMENT\n"
      "Each option of\n.Ic spate serve\nbut\n.Fl \\-config\nand\n.Fl \\-help\nhas a variable:\n.Ev SPATE_\n"
      "and its name in capitals with\n.Ql _\nfor\n.Ql \\- ,\nsuch as\n.Ev SPATE_LOG_LEVEL .\n"
      "A switch is\n.Ql true\nor\n.Ql false .\n"
      "The environment overrides the file of\n.Fl \\-config\n(or\n.Ev SPATE_CONFIG ) ;\noptions override both.\n"
      ".Sh FILES\n.Bl -tag -width Ds\n.It Pa /etc/spate/spate.yaml\nThe settings of the service;\n.Xr spate.yaml 5 .\n"
      ".It Pa \\(ti/.cache/spate\nEngines built from models.\n.El\n",
      stdout);
}

/* Of spate pull, which shares them with the hub's own tools. */
static void hub_print(void) {
  static const char *const variables[][2] = {
      {"HF_TOKEN", "Of an account that may read gated or private models; it is sent to the hub alone."},
      {"HF_TOKEN_PATH", "A file that has it, when HF_TOKEN is not set (default: token below HF_HOME)."},
      {"HF_HOME", "Where models are kept, in hub, unless HF_HUB_CACHE says so (default: ~/.cache/huggingface)."},
      {"HF_HUB_CACHE", "Where models are kept."},
      {"HF_ENDPOINT", "Another hub, such as a mirror."},
      {"HF_HUB_OFFLINE", "1: nothing is fetched."},
      {"HF_HUB_DOWNLOAD_TIMEOUT", "Seconds that a silent server is waited for (default: 10)."},
      {"HTTPS_PROXY", "http://[USER:PASSWORD@]HOST:PORT; HTTP_PROXY and ALL_PROXY as well."},
      {"NO_PROXY", "Hosts that need none, with commas."}};
  printf(".Sh ENVIRONMENT\n.Bl -tag -width Ds\n");
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
    printf(".It Ev %s\n", variables[i][0]);
    text_print(variables[i][1]);
  }
  printf(".El\n");
}

void manual_print_command(const struct command *command) {
  char name[64];
  snprintf(name, sizeof name, "spate-%s", command->name);
  head_print(name, 1, command->help);
  printf(".Sh SYNOPSIS\n.Nm spate %s\n.Op Ar options\n", command->name);
  operand_print(command->operand);
  printf(".Sh DESCRIPTION\n");
  phrase_print(command->help);
  words_print();
  printf("The options are:\n.Bl -tag -width Ds\n");
  for (int i = 0; i < option_count; i++)
    if (options[i].commands & command->bit) option_print(&options[i]);
  printf(".El\n");
  bool is_served = command->bit & FOR_SERVE;
  if (is_served) variables_print();
  if (command->bit & FOR_PULL) hub_print();
  exit_print();
  printf(".Sh SEE ALSO\n.Xr spate 1%s", is_served ? " ,\n.Xr spate.yaml 5\n" : "\n");
}

void manual_print_overview(void) {
  head_print("spate", 1, "LLM inference on one machine");
  printf(".Sh SYNOPSIS\n.Nm\n.Ar command\n.Op Ar options\n.Op Ar operand\n.Nm\n.Fl \\-version\n.Sh DESCRIPTION\n"
         "Builds an engine from a model once, then serves it over HTTP, generates"
         "\nfrom it or measures it.\n");
  words_print();
  printf("The commands are:\n.Bl -tag -width Ds\n");
  for (int i = 0; i < command_count; i++) {
    printf(".It Ic %s\n", commands[i].name);
    phrase_print(commands[i].help);
    printf("See\n.Xr spate-%s 1 .\n", commands[i].name);
  }
  printf(".El\n");
  exit_print();
  printf(".Sh SEE ALSO\n.Xr spate.yaml 5\n");
}

/* What --help says; of a number also its range, which a file's reader does not try out. */
static void setting_print(const struct option *option) {
  char expected[EXPECTED_MAX], phrase[640];
  fputs(".It Ic ", stdout);
  word_print(option->name, strlen(option->name));
  printf(" : Ar %s\n", option->value ? option->value : "true | false");
  option_expect(option, expected);
  bool is_told = option->kind == OPTION_TEXT || option_is_switch(option);
  snprintf(phrase, sizeof phrase, "%s%s%s", option->help, is_told ? "" : "; ", is_told ? "" : expected);
  text_print(phrase);
}

void manual_print_settings(void) {
  head_print("spate.yaml", 5, "settings of an LLM inference server");
  printf(
      ".Sh DESCRIPTION\nThe file that\n.Ic spate serve Fl \\-config Ar FILE\nreads, and the service\n"
      ".Pa /etc/spate/spate.yaml .\nIt is YAML: lines of a name, a colon and a value, comments after\n.Ql # .\n"
      "No lists, groups, anchors or tags are taken, and no name twice.\nWhere several may be given they stand in one "
      "text, with commas.\nThe environment and options override the file; see\n.Xr spate-serve 1 .\n"
      ".Ic spate config Fl \\-print\nshows what comes of them.\n.Pp\nThe settings are:\n.Bl -tag -width Ds\n");
  for (int i = 0; i < option_count; i++)
    if ((options[i].commands & FOR_SERVE) && option_is_setting(&options[i])) setting_print(&options[i]);
  printf(".El\n.Sh EXAMPLES\n.Bd -literal -offset indent\nmodel: /var/lib/spate/model\nport: 8000\nlog\\-level: info\n"
         "enable\\-block\\-reuse: true\n.Ed\n.Sh SEE ALSO\n.Xr spate-config 1 ,\n.Xr spate-serve 1\n");
}
