"""The wire: one file a noun, from requests to `Project` and from nouns to answers.

::

    nouns.py         what answers hold
    paging.py        pages of a list
    forms.py         forms with a file, in constant memory
    settings.py      what both ways to ask a model have in common
    chat_request.py  the body of a chat, and chat_answer.py its answer
    deltas.py        from the pieces that a backend gives to those that the wire knows
    tool_calls.py    calls that a model writes, in the words of its template
    response.py      an answer under way: its turn, its thread, its end when the client leaves
    refused.py       what is not served
"""
