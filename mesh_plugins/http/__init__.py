"""The direct caller: providers' wire formats over HTTP, without any toolkit.

* `transport`  the port: a request goes out, a reply or a stream of bytes comes back
* `default`    which library serves whom: `pyreqwest` threads, `aiohttp` event loops, `httpx` forked
               children's threads and whoever asks for it
* `wire`       OpenAI's and Anthropic's formats, pure
* `reply`      what a caller gets: OpenAI-shaped, by attribute and by key
* `streams`    chunks of one reply, in both colours
* `sender`     `DirectSender`, which puts these together for the core
"""
