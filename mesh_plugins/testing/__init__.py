"""For tests, demos and benchmarks: things that stand in for what costs money.

* `provider`  a local server that speaks the OpenAI and Anthropic wire formats over real HTTP
* `memory`    a whole mesh in memory, for tests of code that uses Mesh and of plugins for it
"""
