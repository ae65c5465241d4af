"""The life of one governed call: ``CallRequest → Plan → Reservation → Outcome → Receipt``.

* `call`     the five values, each made from the one before
* `plan`     pure: resolve, authorize, order, estimate, charge
* `retries`  pure: what to do after a failed attempt
* `settle`   pure: what a call really took, and its facts
* `drivers`  ``call``/``acall`` and ``stream``/``astream``: the only place where a call waits
* `ports`    what the core needs of the outside: limiter, recorder, configuration, sender
* `runtime`  `Mesh`: holds the connections and hands a request to the drivers
"""
