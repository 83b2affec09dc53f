/* Calls between tags of their own: untrusted text.
 *
 *   <|tool_call_begin|>functions.N:0<|tool_call_argument_begin|>{…}<|tool_call_end|>: Kimi
 *   <invoke name="N"><parameter name="P">…</parameter></invoke>: MiniMax; with ｜DSML｜ in each tag: DeepSeek
 *   <|open|>call tool="N" index="1"<|sep|><|open|>argument key="P" type="T"<|sep|>…<|close|>argument<|sep|>…: Kimi K3
 *   <function name="N"><param name="P">…</param></function>: MiniCPM
 *   call:N{P:<|"|>…<|"|>, …}: Gemma 4; its older form has <escape> for quotes
 *   N, a line end, {…}: GLM-4 */
#ifndef SPATE_SERVER_CALL_TAGS_H
#define SPATE_SERVER_CALL_TAGS_H

#include "base/json.h"

/* Whether the text begins with such a tag; then what it calls is added, and the text goes on behind it. False: it is no
 * call. */
bool call_tags_begin(struct slice text);
bool call_tags_read(json_t *calls, struct slice *text, const json_t *tools);

/* GLM-4's, which has no tag: only of known tools. */
bool call_line_read(json_t *calls, struct slice *text, const json_t *tools);

#endif
