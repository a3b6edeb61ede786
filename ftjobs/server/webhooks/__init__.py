"""Webhooks: jobs that end, told to others.

::

    endpoints.py  who is told: URL, project, events, secret
    outbox.py     what is to be told, on disk until it was
    lookout.py    a thread that finds the jobs that have ended
    sender.py     a thread that sends, and others that wait for answers
    telling.py    all of these while a server runs

Each end of a job is one event for each endpoint, sent at least once, and always under the same
`webhook-id`: whoever receives it twice can tell.  Signatures are those of Standard Webhooks
(https://www.standardwebhooks.com), the payload that of OpenAI.
"""
