"""For tests, demos and benchmarks: things that stand in for what costs money.

* `provider`  a local server that speaks the OpenAI and Anthropic wire formats over real HTTP
"""
