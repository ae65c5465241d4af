"""Wire formats, pure: a call becomes a request, bytes become a reply.

* `base`       what a wire format is
* `sse`        server-sent events, however the bytes were cut
* `usage`      the provider's token counts, believed only as far as they can be
* `failures`   what a bad answer becomes
* `openai`, `openai_stream`
* `anthropic`, `anthropic_request`, `anthropic_reply`, `anthropic_stream`
"""
