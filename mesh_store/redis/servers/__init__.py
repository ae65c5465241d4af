"""Where Redis is and who answers there: one server, the primary that sentinels name, or a cluster.

* `address`        the URLs users write, as values
* `tls`            certificates that can be read, and the name a server is asked for
* `sentinel`       connections to whichever server the sentinels call primary
* `routing`        which key a command goes by
* `slots`          which server holds which slot, as last heard
* `cluster`        a client of many servers, for threads
* `cluster_async`  the same for an event loop
"""
