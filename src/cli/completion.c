/* Scripts for bash, zsh and fish. A value is one of the option's words, a file's name where the table calls it one, or
 * for the user to type. */
#include "cli/completion.h"

#include "cli/command.h"
#include "cli/option_table.h"

#include <stdio.h>
#include <string.h>

/* Does a value of this name stand for a file or a folder? */
static bool names_file(const char *value) {
  static const char *const names[] = {"FILE", "DIR", "PATH", "MODEL", "ENGINE"};
  for (size_t i = 0; value && i < sizeof names / sizeof *names; i++)
    if (strncmp(value, names[i], strlen(names[i])) == 0) return true;
  return false;
}

static bool takes_file(const struct option *option) {
  return names_file(option->value) && strcmp(option->name, "root-path") != 0; /* a path of URLs */
}

static bool operand_is_file(const struct command *command) {
  return names_file(command->operand + (*command->operand == '['));
}

static bool operand_is_command(const struct command *command) { return strcmp(command->operand, "[COMMAND]") == 0; }

/* The words with spaces between. */
static void words_print(const char *words) {
  for (; *words; words++) putchar(*words == '|' ? ' ' : *words);
}

static void commands_print(void) {
  for (int i = 0; i < command_count; i++) printf("%s%s", i ? " " : "", commands[i].name);
}

static bool belongs(const struct option *option, const struct command *command) {
  return option->commands & command->bit;
}

/* --- bash --------------------------------------------------------------------------------------------------------- */

static void bash_values(const struct command *command) {
  for (int i = 0; i < option_count; i++) {
    const struct option *option = &options[i];
    if (!belongs(option, command) || option_is_switch(option)) continue;
    printf("  %s,--%s", command->name, option->name);
    if (option->letter) printf(" | %s,-%c", command->name, option->letter);
    fputs(") ", stdout);
    if (option->words) {
      fputs("words='", stdout);
      words_print(option->words);
      fputs("' ;;\n", stdout);
    } else {
      puts(takes_file(option) ? "files=1 ;;" : "return ;;");
    }
  }
}

static void bash_options(const struct command *command) {
  printf("  %s,*)\n    if [[ $current == -* ]]; then words='", command->name);
  for (int i = 0; i < option_count; i++)
    if (belongs(&options[i], command)) printf("--%s ", options[i].name);
  fputs(operand_is_file(command) ? "'; else files=1; fi ;;\n" : "'; else words='", stdout);
  if (operand_is_file(command)) return;
  if (operand_is_command(command)) commands_print();
  fputs("'; fi ;;\n", stdout);
}

static void bash_print(void) {
  fputs("# bash completion for spate, by spate help --completion bash\n"
        "_spate() {\n"
        "  local current=$2 previous=${COMP_WORDS[COMP_CWORD-1]} words='' files=''\n"
        "  COMPREPLY=()\n"
        "  [[ $current == '=' ]] && current=''\n"
        "  [[ $previous == '=' ]] && previous=${COMP_WORDS[COMP_CWORD-2]}\n"
        "  [[ $COMP_CWORD == 1 ]] && previous='' COMP_COMMAND='' || COMP_COMMAND=${COMP_WORDS[1]}\n"
        "  case $COMP_COMMAND,$previous in\n  ,*) words='",
        stdout);
  commands_print();
  fputs(" --help --version' ;;\n", stdout);
  for (int i = 0; i < command_count; i++) bash_values(&commands[i]);
  for (int i = 0; i < command_count; i++) bash_options(&commands[i]);
  fputs("  esac\n"
        "  if [[ $files ]]; then\n"
        "    compopt -o filenames 2>/dev/null\n"
        "    mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n"
        "  else\n"
        "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
        "  fi\n"
        "}\n"
        "complete -F _spate spate\n",
        stdout);
}

/* --- zsh ---------------------------------------------------------------------------------------------------------- */

/* Within [...] of a specification in single quotes. */
static void zsh_text(const char *text) {
  for (; *text; text++) {
    if (*text == '\'')
      fputs("'\\''", stdout);
    else if (strchr("[]:\\", *text))
      printf("\\%c", *text);
    else
      putchar(*text);
  }
}

static void zsh_value(const struct option *option) {
  if (option_is_switch(option)) return;
  printf(":%s:", option->value);
  if (option->words) {
    putchar('(');
    words_print(option->words);
    putchar(')');
  } else {
    fputs(takes_file(option) ? "_files" : " ", stdout);
  }
}

static void zsh_option(const struct option *option) {
  const char *equals = option_is_switch(option) ? "" : "=";
  const char *many = option->kind == OPTION_LIST ? "*" : "";
  printf("      '%s--%s%s[", many, option->name, equals);
  zsh_text(option->help);
  putchar(']');
  zsh_value(option);
  fputs("' \\\n", stdout);
  if (!option->letter) return;
  printf("      '%s-%c[", many, option->letter);
  zsh_text(option->help);
  putchar(']');
  zsh_value(option);
  fputs("' \\\n", stdout);
}

static void zsh_command(const struct command *command) {
  printf("  %s)\n    _arguments -s -S : \\\n", command->name);
  for (int i = 0; i < option_count; i++)
    if (belongs(&options[i], command)) zsh_option(&options[i]);
  fputs(operand_is_file(command) ? "      '*:file:_files' ;;\n" : "      '1:operand:(", stdout);
  if (operand_is_file(command)) return;
  if (operand_is_command(command)) commands_print();
  fputs(")' ;;\n", stdout);
}

static void zsh_print(void) {
  fputs(
      "#compdef spate\n# zsh completion for spate, by spate help --completion zsh\n_spate() {\n  local -a commands=(\n",
      stdout);
  for (int i = 0; i < command_count; i++) {
    printf("    '%s:", commands[i].name);
    zsh_text(commands[i].help);
    fputs("'\n", stdout);
  }
  fputs("  )\n"
        "  if (( CURRENT == 2 )); then\n"
        "    _describe command commands\n"
        "    return\n"
        "  fi\n"
        "  shift words\n"
        "  (( CURRENT-- ))\n"
        "  case $words[1] in\n",
        stdout);
  for (int i = 0; i < command_count; i++) zsh_command(&commands[i]);
  fputs("  esac\n}\n"
        "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _spate \"$@\"; else compdef _spate spate; fi\n",
        stdout);
}

/* --- fish --------------------------------------------------------------------------------------------------------- */

static void fish_text(const char *text) {
  for (; *text; text++) {
    if (*text == '\'' || *text == '\\') putchar('\\');
    putchar(*text);
  }
}

static void fish_option(const struct option *option, const struct command *command) {
  printf("complete -c spate -n '__fish_seen_subcommand_from %s' -l %s", command->name, option->name);
  if (option->letter) printf(" -s %c", option->letter);
  if (!option_is_switch(option)) fputs(takes_file(option) ? " -r -F" : " -x", stdout);
  if (option->words) {
    fputs(" -a '", stdout);
    words_print(option->words);
    putchar('\'');
  }
  fputs(" -d '", stdout);
  fish_text(option->help);
  fputs("'\n", stdout);
}

static void fish_operand(const struct command *command) {
  if (operand_is_file(command)) return;
  printf("complete -c spate -n '__fish_seen_subcommand_from %s' -f -a '", command->name);
  if (operand_is_command(command)) commands_print();
  fputs("'\n", stdout);
}

static void fish_print(void) {
  fputs("# fish completion for spate, by spate help --completion fish\n"
        "complete -c spate -n __fish_use_subcommand -f -l help -s h -d 'list the commands'\n"
        "complete -c spate -n __fish_use_subcommand -f -l version -d 'print the version'\n",
        stdout);
  for (int i = 0; i < command_count; i++) {
    printf("complete -c spate -n __fish_use_subcommand -f -a %s -d '", commands[i].name);
    fish_text(commands[i].help);
    fputs("'\n", stdout);
  }
  for (int c = 0; c < command_count; c++) {
    fish_operand(&commands[c]);
    for (int i = 0; i < option_count; i++)
      if (belongs(&options[i], &commands[c])) fish_option(&options[i], &commands[c]);
  }
}

void completion_print(const char *shell) {
  if (strcmp(shell, "bash") == 0)
    bash_print();
  else if (strcmp(shell, "zsh") == 0)
    zsh_print();
  else
    fish_print();
}
