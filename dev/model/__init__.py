"""
A model that says what the prompt tells it to say.

It speaks OpenAI's Responses and Chat Completions, Anthropic's Messages and Gemini's
generateContent, so that real agents work for real, with no provider and the same outcome every
time. A prompt brings its script along in a fenced block:

    ```script
    [{"say": "I will add a file."}, {"shell": "echo hello > hello.txt"}, {"say": "Done."}]
    ```

A prompt without one plays the first of ``scenarios.json`` whose phrase it contains. The steps:

    {"say": TEXT}                                   {"think": TEXT}
    {"say_slowly": TEXT, "words_per_second": 5}     {"shell": COMMAND}
    {"structured": OBJECT}                          {"hang": SECONDS}
    {"error": 429, "message": TEXT, "times": 2}     {"cut": true}
    {"tool": "SERVER/TOOL", "arguments": OBJECT, "until": TEXT}
    {"recall": PATTERN}

A shell or tool step ends an answer, and its result brings the next; so where a script stands
follows from the conversation alone. Only how often an error was given is remembered. Claude's
Bash refuses a bare ``sleep N``: make it part of a longer command.

A tool step calls a tool of an MCP server the agent is connected to; until the agent offers it,
the model waits. In its arguments ``{{run_id}}`` is the value that the newest result with a
``run_id`` has there. With ``until`` it is called again until its result contains that text.

A recall step says what in the whole conversation, as the agent has sent it, matches a regular
expression: whether the agent still knows what an earlier run has found out.
"""
