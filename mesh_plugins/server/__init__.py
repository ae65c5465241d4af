"""The control plane: the repository over HTTP, beside the publisher and the collector.

* `app`       the application: routes, errors, what stands in front of them
* `gate`      who is asking, before anything of the request is read
* `desk`      what one request may see and change, by its token's role and team
* `bounds`    how large a request may be and how its path is read
* `problems`  every error as RFC 9457 problem details
* `bodies`, `queries`  what may be said; unknown fields and parameters are refused
* `routes`    one file per kind of thing
* `health`    ``/healthz`` and ``/readyz``
* `running`   sockets, signals, and the order in which everything ends

Nothing here decides what a change means: that is the repository's, the same as the commands'.
"""
