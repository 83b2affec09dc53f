/* spate chat: a conversation on the terminal, in the model's own chat template. Each turn sends the whole of it; the
 * prefix cache makes that cheap. Lines are read plainly: the terminal edits them, and a library for more would be one
 * that a server has to install too. Works on a pipe as well, where each line is a turn. */
#include "base/json.h"
#include "cli/command.h"
#include "cli/terminal_answer.h"

#include <stdio.h>
#include <unistd.h>

enum { MESSAGE_BYTES_MAX = 16 << 20, CONVERSATION_BYTES_MAX = 64 << 20 };

static const char fence[] = "\"\"\""; /* begins and ends a message of several lines */
static const char commands_help[] = "/reset begins a new conversation, /exit or Ctrl-D ends; Ctrl-C stops an answer; "
                                    "\"\"\" begins and ends a message of several lines.";

struct chat {
  const struct settings *settings;
  spate_engine *engine;
  spate_inbox *inbox;
  int max_seq_len;
  bool on_terminal;
  struct buffer body;   /* of requests, without its end: {"messages":[… */
  size_t without_turns; /* bytes of it that /reset leaves */
  int code;             /* 1 once something has failed */
};

/* --- messages in ----------------------------------------------------------------------------------------------------
 */

/* Appends a line without its end. False at the end of the input. */
static bool line_read(const struct chat *chat, const char *sign, struct buffer *line) {
  int c = EOF;
  size_t before = line->size;
  if (chat->on_terminal) printf("%s", sign);
  fflush(stdout);
  while ((c = getc_unlocked(stdin)) != EOF && c != '\n') {
    char byte = (char)c;
    buffer_append(line, &byte, 1);
  }
  return c != EOF || line->size > before || line->failed;
}

static bool fence_closed(const struct buffer *message) {
  size_t size = sizeof fence - 1;
  return message->size >= 2 * size && memcmp(message->data + message->size - size, fence, size) == 0;
}

/* A line, or those from one that begins with the fence to one that ends with it, or to the end of the input. */
static bool message_read(const struct chat *chat, struct buffer *message, struct slice *text) {
  buffer_clear(message);
  if (!line_read(chat, "> ", message)) return false;
  *text = buffer_slice(message);
  if (!slice_starts(*text, fence)) return true;
  while (!fence_closed(message)) {
    buffer_text(message, "\n");
    if (!line_read(chat, ". ", message)) break;
  }
  size_t end = fence_closed(message) ? message->size - (sizeof fence - 1) : message->size;
  *text = slice_make(message->data + sizeof fence - 1, end - (sizeof fence - 1));
  if (slice_starts(*text, "\n")) *text = slice_make(text->data + 1, text->size - 1);
  if (text->size && text->data[text->size - 1] == '\n') text->size--;
  return true;
}

static bool is_blank(struct slice text) {
  for (size_t i = 0; i < text.size; i++)
    if (!strchr(" \t\r\n", text.data[i]) || !text.data[i]) return false;
  return true;
}

/* --- turns ----------------------------------------------------------------------------------------------------------
 */

static void message_add(struct chat *chat, const char *role, struct slice content) {
  bool first = chat->body.data[chat->body.size - 1] == '[';
  buffer_print(&chat->body, "%s{\"role\":\"%s\",\"content\":", first ? "" : ",", role);
  json_write_string(&chat->body, content);
  buffer_text(&chat->body, "}");
}

static void turn_fail(struct chat *chat, const spate_error *error) {
  char sentence[sizeof error->text + 128];
  bool full = error->code == SPATE_LIMIT;
  snprintf(sentence, sizeof sentence, "%s%s%s", full ? "The conversation does not fit any more. " : "", error->text,
           full ? " Or begin a new one with /reset." : "");
  chat->code = command_fail(sentence);
}

/* Why an answer is not whole. */
static void cut_tell(const struct chat *chat, const spate_event *last) {
  if (last->finish != SPATE_FINISH_LENGTH) return;
  if (last->prompt_tokens + last->generated_tokens >= chat->max_seq_len)
    fprintf(stderr,
            "The conversation has reached max_seq_len %d tokens, which cut the answer: begin a new one with "
            "/reset.\n",
            chat->max_seq_len);
  else
    fprintf(stderr, "The answer was cut at the %d tokens of --max-tokens.\n", last->generated_tokens);
}

static bool turn_print(struct chat *chat, struct buffer *answer) {
  spate_request request;
  spate_event last;
  spate_error error;
  struct lora_words words;
  if (!request_fill(chat->settings, chat->engine, &request, &words, &error)) {
    turn_fail(chat, &error);
    return false;
  }
  if (!chat->settings->has_max_tokens) request.max_tokens = chat->max_seq_len; /* what the conversation leaves of it */
  request.chat = true;
  request.prompt = chat->body.data;
  request.prompt_size = chat->body.size;
  interrupt_begin();
  bool done = answer_print(chat->engine, chat->inbox, &request, answer, &last, &error);
  interrupt_end();
  if (done)
    cut_tell(chat, &last);
  else
    turn_fail(chat, &error);
  return done && answer->size > 0;
}

/* A turn without an answer is forgotten, so that another question can be asked in its place. */
static void turn_take(struct chat *chat, struct slice text) {
  struct buffer answer;
  size_t before = chat->body.size;
  buffer_init(&answer, MESSAGE_BYTES_MAX);
  message_add(chat, "user", text);
  buffer_text(&chat->body, "]}");
  bool answered = !chat->body.failed && turn_print(chat, &answer);
  chat->body.size = answered ? chat->body.size - 2 : before;
  if (answered) message_add(chat, "assistant", buffer_slice(&answer));
  buffer_release(&answer);
  if (!chat->body.failed) return;
  chat->code = command_fail("The conversation is longer than 64 MiB: begin a new one with /reset.");
  chat->body.size = before;
  chat->body.failed = false;
}

/* --- the conversation --------------------------------------------------------------------------------------------- */

/* False when the text is no command. */
static bool command_take(struct chat *chat, struct slice text) {
  if (!slice_starts(text, "/") || memchr(text.data, ' ', text.size) || memchr(text.data, '\n', text.size)) return false;
  if (slice_is(text, "/reset"))
    chat->body.size = chat->without_turns;
  else
    fprintf(stderr, "There is no command %.*s: %s\n", SLICE_ARGS(text), commands_help);
  return true;
}

static void conversation_begin(struct chat *chat) {
  buffer_text(&chat->body, "{\"messages\":[");
  if (chat->settings->system) message_add(chat, "system", slice_text(chat->settings->system));
  chat->without_turns = chat->body.size;
}

static void conversation_hold(struct chat *chat) {
  struct buffer message;
  struct slice text;
  buffer_init(&message, MESSAGE_BYTES_MAX);
  conversation_begin(chat);
  if (chat->on_terminal) fprintf(stderr, "%s\n", commands_help);
  while (message_read(chat, &message, &text) && !slice_is(text, "/exit")) {
    if (message.failed)
      chat->code = command_fail("The message is longer than 16 MiB.");
    else if (!is_blank(text) && !command_take(chat, text))
      turn_take(chat, text);
  }
  if (chat->on_terminal && feof(stdin)) printf("\n"); /* Ctrl-D leaves the cursor behind the sign */
  buffer_release(&message);
}

static int engine_chat(const struct settings *settings, spate_engine *engine) {
  spate_error error;
  spate_engine_info info = {.size = sizeof info};
  struct chat chat = {.settings = settings, .engine = engine, .inbox = spate_inbox_new(engine, &error)};
  if (!chat.inbox) return command_fail(error.text);
  spate_info(engine, &info);
  chat.max_seq_len = info.max_seq_len;
  chat.on_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
  buffer_init(&chat.body, CONVERSATION_BYTES_MAX);
  conversation_hold(&chat);
  buffer_release(&chat.body);
  spate_inbox_free(chat.inbox);
  return chat.code;
}

int command_chat(const struct settings *settings) {
  spate_engine *engine = command_open(settings);
  int code = engine ? engine_chat(settings, engine) : 1;
  spate_close(engine);
  return code;
}
