"""The fine-tuning wire of OpenAI over any backend: `ftjobs serve`.

::

    app.py        what is served: routes, error answers, guards, put together
    running.py    how: the socket, its time limits, TLS, a graceful end
    options.py    the table [serve] of the settings
    database.py   server.db: the one connection of the rooms below
    keys.py       API keys: hashed, scoped, of a project
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
    upkeep.py     what is taken up after a crash, and cleaned
    refusals.py   errors of ftjobs in the wire's shape
    wire/         one file a noun: from requests to `Project`, from nouns to answers
    pages/        what people see in a browser
    webhooks/     jobs that end, told to others

Nothing but this package imports fastapi, starlette and uvicorn.
"""
