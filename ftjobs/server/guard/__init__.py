"""The door: what every request passes before it reaches a room, and every answer on its way out.

::

    door.py      one ASGI application around another; the order of the guards
    exchange.py  one request with its answer
    body.py      how much of a body may come, and how slowly
    hosts.py     names this server is called by, and pages that may write to it
    rates.py     requests a minute
    audit.py     who asked what
    strict.py    heads that can be read in one way only
    slow.py      connections that send or read too slowly, or are too many

Pure ASGI: starlette's BaseHTTPMiddleware would hide a client that has left.
"""
