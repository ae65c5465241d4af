"""The rooms of the stand-in provider.

* `script`     how it misbehaves, as values
* `http`       the little of HTTP/1.1 it needs, and playing an answer
* `words`      what it says: deterministic text, token counts, tool arguments, minimal JSON
* `openai`     chat, completions, embeddings, models
* `responses`  OpenAI's responses
* `anthropic`  messages
* `router`     which of them answers
"""
