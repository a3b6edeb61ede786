"""The fine-tuning wire of OpenAI over any backend: `ftjobs serve`.

::

    app.py        what is served: routes, error answers, guards, put together
    running.py    how: the socket, its time limits, TLS, a graceful end
    options.py    the table [serve] of the settings
    database.py   server.db: the one connection of the rooms below
    keys.py       API keys: hashed, scoped, of a project
    caller.py     who asks, and what they may
    owners.py     which file, job and upload is of which project
    once.py       Idempotency-Key: one answer for one request
    project.py    the backend as one project sees it; pages and wire read and write through it
    refusals.py   errors of ftjobs in the wire's shape
    wire/         one file a noun: from requests to `Project`, from nouns to answers
    pages/        what people see in a browser
    webhooks/     jobs that end, told to others

Nothing but this package imports fastapi, starlette and uvicorn.
"""
