/* The calls in what a model wrote between the marks of calls: untrusted text, in whichever form models were taught.
 *
 *   {"name": N, "arguments": {…}}, or "parameters", alone, in a list or one after another: Hermes, Llama 3, Granite
 *   {"tool_name": N, "parameters": {…}}: Command
 *   N[ARGS]{…} or N[CALL_ID]…[ARGS]{…}: Mistral; N{…} of known tools, where it forgets the mark
 *   <function=N><parameter=P>…</parameter></function>: Qwen3-Coder
 *   N<arg_key>P</arg_key><arg_value>…</arg_value>: GLM
 *   <｜tool▁call▁begin｜>N<｜tool▁sep｜>{…}<｜tool▁call▁end｜>, and DeepSeek's older form
 *   {N: {…}}, in a list: Apertus
 *   what call_tags.h names: Kimi, MiniMax, DeepSeek from 3.2 on, MiniCPM, Gemma 4, GLM-4
 *   [N(P=…, …)], or without brackets line by line, of known tools: Python's (python_literal.h), OLMo 3's */
#ifndef SPATE_SERVER_TOOL_CALLS_H
#define SPATE_SERVER_TOOL_CALLS_H

#include "base/json.h"

/* As a list of {"name": …, "arguments": an object of JSON as text}, the caller's to json_decref; without any where the
 * model says that it calls none (Command). Arguments that the model wrote as JSON are as it wrote them; those written
 * without a type (Qwen3-Coder, GLM) have the one that the tool's parameters say: tools are OpenAI's list of them.
 * NULL when any part of the text is no call; read not NULL: when it begins with none, and else *read bytes are calls.
 * ended: the mark of their end stands behind them, without which GLM's could go on.
 */
json_t *tool_calls_read(struct slice text, const json_t *tools, bool ended, size_t *read);

/* The same of a tool whose name stands elsewhere. */
json_t *tool_call_named(struct slice name, struct slice arguments);

/* Whether the list of tools has one of that name. */
const json_t *tool_find(const json_t *tools, struct slice name);

/* What is read of a list of tools, as a list of them: names, and which parameters are strings. A megabyte of schemas
 * takes eighty as JSON, and an answer keeps its tools until it is complete. *bytes: about what it takes. */
json_t *tools_brief(const json_t *tools, size_t *bytes);

#endif
