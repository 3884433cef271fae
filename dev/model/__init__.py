"""
A scripted model, controlled by the prompt.

It implements OpenAI's Responses and Chat Completions, Anthropic's Messages and Gemini's
generateContent, so that real agents run without a provider and with the same outcome every time. A
prompt contains its script in a fenced block:

    ```script
    [{"say": "I will add a file."}, {"shell": "echo hello > hello.txt"}, {"say": "Done."}]
    ```

A prompt without one runs the first of ``scenarios.json`` whose phrase it contains. The steps:

    {"say": TEXT}                                   {"think": TEXT}
    {"say_slowly": TEXT, "words_per_second": 5}     {"shell": COMMAND}
    {"structured": OBJECT}                          {"hang": SECONDS}
    {"error": 429, "message": TEXT, "times": 2}     {"cut": true}
    {"tool": "SERVER/TOOL", "arguments": OBJECT, "until": TEXT}
    {"recall": PATTERN}

A shell or tool step ends a response, and its result triggers the next; so the position in a script
follows from the conversation alone. The only state is how often each error was returned. Claude's
Bash rejects a bare ``sleep N``: make it part of a longer command.

A tool step calls a tool of an MCP server that the agent is connected to; the model waits until the
agent offers it. In its arguments ``{{run_id}}`` is replaced with the value of ``run_id`` in the
newest result that has one. With ``until``, the call is repeated until its result contains that
text.

A recall step returns all matches of a regular expression in the conversation as the agent has sent
it: it shows whether the agent still knows the findings of an earlier run.
"""
