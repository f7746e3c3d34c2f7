"""The page on which people compare texts, over a store of preferences, and the routes behind it.

Who answers is a pseudonym. A session is a cookie that ``POST /api/session`` gives for the token of
the access file, and whoever posts shows besides the token of that session against forgery, and the
page's own ``Origin``. Bodies and answers are JSON; ``left`` and ``right`` are sides as they were
shown, and no response says who wrote a text.

=======================  ==========================================================================
route                    takes, gives
=======================  ==========================================================================
``POST /api/session``    ``{"token", "annotator"}``; ``{"annotator", "owner", "csrf"}``, the cookie.
                         An annotator's own token needs no name, and takes no other.
``GET /api/session``     nothing; as above, 403 without a session
``GET /api/next``        nothing; a *turn*. What was handed out and not answered comes again
``POST /api/vote``       ``{"lease", "answer", "key", "strength"?, "note"?}``, ``answer`` being
                         ``left``, ``right``, ``tie``, ``both_bad`` or ``skip``, and ``strength``
                         1 to 4; the next *turn*. The same ``key`` again is the same vote; another
                         answer under it, or to an answered item, is 409
``POST /api/undo``       ``{"key"}``; the *turn* whose answer was taken back, 409 where none is
``GET /overview``        for the owner: counts, agreement, who did what, disagreements
``POST /api/adjudicate`` for the owner: ``{"subject"}``, as the overview names it; its *turn*
``GET /export.jsonl``    for the owner: the answers as ``textgym reward train`` reads them
=======================  ==========================================================================

Every ``POST`` but the first carries ``X-CSRF-Token``, and every one ``Origin`` and ``Content-Type:
application/json``. A *turn* is::

    {"item": {"lease": "9f...", "question": "compare", "prompt": "...", "left": "...",
              "right": "..."},
     "progress": {"answered": 12, "remaining": 88, "can_undo": true}}

of which a sheet has ``"texts": [...]`` in place of ``left`` and ``right``, and ``rank``, ``rate``
or ``spans`` as its question. Its vote has ``"said"`` in place of ``answer`` and ``strength``: the
places of the texts as they were shown, from 0, the best first; a number from 1 to 5; lists of a
start, an end, in characters, and ``"good"`` or ``"bad"``; or null to skip.

The ``item`` is null where nothing is left for this annotator, and the ``question`` of a pair is
``edits`` where the prompt is a draft and both texts are edits of it. What is refused is 403 (token,
session, forgery token, ``Origin``, ``Host``), 409 (an answer that contradicts a stored one), 413 (a
body that is too long) or 422 (a body that is no vote), with ``{"error": "one sentence"}``, and
leaves no row; 503 is a database that cannot be reached, and the same ``key`` may be sent again.
"""
