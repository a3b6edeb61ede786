"""The fine-tuning wire of OpenAI over any backend: `ftjobs serve`.

::

    running.py    how it is served: the socket, TLS, one server of a home, a graceful end
    guard/        the door: what every request passes before it reaches a room
    app.py        what is served: routes, error answers, what runs beside them
    options.py    the table [serve] of the settings
    desk.py       what all requests share: backend, options, rooms; and who asks
    database.py   server.db: the one connection of the rooms below
    keys.py       API keys: hashed, scoped, of a project
    sessions.py   cookies of browsers, made from keys
    caller.py     who asks, and what they may
    owners.py     which file and job is of which project
    uploads.py    uploads in parts, as they are remembered
    quota.py      how many bytes a project may have
    spool.py      the folder of files that are on their way
    words.py      names in place of folders
    locks.py      locks and counts by name
    once.py       Idempotency-Key: one answer for one request
    project.py    the backend as one project sees it; pages and wire read and write through it
    projects/     what a project can do, one file a noun
    turns.py      how many answers are written at once, and whose is next
    pieces.py     an answer's pieces, from a thread of its own to the event loop
    rounds.py     what is done again and again beside the requests, whatever goes wrong
    upkeep.py     what is taken up after a crash, and cleaned
    workers.py    jobs that go on though nobody asks for them
    description.py  what can be asked, as a page
    metrics.py    numbers for Prometheus
    health.py     whether the process lives, and whether it can be asked
    refusals.py   errors of ftjobs in the wire's shape
    wire/         one file a noun: from requests to `Project`, from nouns to answers
    pages/        what people see in a browser
    webhooks/     jobs that end, told to others

Nothing but this package imports fastapi, starlette and uvicorn.
"""
