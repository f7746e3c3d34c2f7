"""The page's server does what its routes promise, and what no page of ours asks it refuses."""

import html
import json
import re
import stat
import time

import pytest

from reward_models.feedback.access import Access, AccessError
from reward_models.feedback.application import MAX_BODY, Study, make_application
from reward_models.feedback.gate import Addresses
from reward_models.feedback.overview import public_name, summarise
from reward_models.preferences import (
    Answer,
    Handout,
    HandoutConfig,
    Pair,
    PreferenceStore,
    SheetVote,
    Vote,
    WorkItem,
    make_sheets,
)
from tests.programs import require_modules

require_modules("starlette", extra="feedback")
require_modules("httpx2", extra="judge")

OWNER, ANNA, BEN = "o" * 43, "a" * 43, "b" * 43
HOME = "http://127.0.0.1:8765"
COOKIE = Access(OWNER, {}).cookie_name
WRITERS = ("opus-magnum", "tiny-parrot")
HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}",
    "\u202egnp.exe\u202c \0 \x1b[31m",
    "x" * 1_000_000,
]


@pytest.fixture
def study(tmp_path):
    """Four pairs, each for two people."""
    with PreferenceStore(tmp_path / "votes.sqlite") as store:
        store.add_pairs(
            [
                Pair(
                    pair_id=f"{WRITERS[0]} against {WRITERS[1]}, {n}",
                    prompt=f"prompt {n}",
                    a=f"first {n}",
                    b=f"second {n}",
                    policy_a=WRITERS[0],
                    policy_b=WRITERS[1],
                )
                for n in range(4)
            ]
        )
        handout = Handout(store, HandoutConfig(answers=2, repeat_every=0))
        handout.fill(
            [
                WorkItem(subject=pair.pair_id, rank=n, chosen_by="random")
                for n, pair in enumerate(store.pairs())
            ]
        )
        yield Study(store=store, handout=handout, rubric="Look at <b>everything</b>.")


@pytest.fixture
def application(study):
    return make_application(study, Access(OWNER, {"anna": ANNA, "ben": BEN}), Addresses.of(8765))


class Person:
    """Somebody's browser."""

    def __init__(self, application, token, annotator=""):
        from starlette.testclient import TestClient

        self.client = TestClient(application, base_url=HOME)
        self.headers = {"Origin": HOME}
        self.entered = self.post("/api/session", {"token": token, "annotator": annotator})
        if self.entered.status_code == 200:
            self.headers["X-CSRF-Token"] = self.entered.json()["csrf"]

    def post(self, path, body, **headers):
        return self.client.post(path, json=body, headers=self.headers | headers)

    def next(self):
        return self.client.get("/api/next").json()

    def vote(self, answer="left", key="k", **more):
        lease = self.next()["item"]["lease"]
        return self.post("/api/vote", {"lease": lease, "answer": answer, "key": key, **more})


@pytest.fixture
def anna(application):
    return Person(application, ANNA)


def test_a_vote_is_stored_as_the_text_that_stood_there(study, anna):
    shown = anna.next()["item"]
    following = anna.vote("right", strength=3, note="why").json()
    assert following["item"]["lease"] != shown["lease"]
    assert following["progress"] == {"answered": 1, "remaining": 3, "can_undo": True}
    (answer,) = study.store.answers()
    (pair,) = [pair for pair in study.store.pairs() if pair.pair_id == answer.pair_id]
    assert shown["right"] == getattr(pair, answer.answer)
    assert (answer.annotator, answer.strength, answer.note) == ("anna", 3, "why")
    assert answer.served_at <= answer.voted_at <= time.time()


def test_whichever_side_a_text_stands_on_it_is_the_one_that_is_chosen(application, study, anna):
    pairs = {pair.pair_id: pair for pair in study.store.pairs()}
    stood = set()
    for person, name in ((anna, "anna"), (Person(application, BEN), "ben")):
        while item := person.next()["item"]:
            assert person.vote("right", key=item["lease"]).status_code == 200
            (answer,) = [each for each in study.store.answers() if each.annotator == name][-1:]
            pair = pairs[answer.pair_id]
            assert item["right"] == getattr(pair, answer.answer)
            assert {item["left"], item["right"]} == {pair.a, pair.b}
            stood.add(answer.answer)
    assert stood == {"a", "b"}


def test_a_reload_shows_the_same_pair_and_another_person_another_one(application, anna):
    assert anna.next() == anna.next()
    ben = Person(application, BEN)
    assert anna.next()["item"]["lease"] != ben.next()["item"]["lease"]


def test_undo_gives_the_pair_back_and_a_second_one_the_pair_before(study, anna):
    first, second = anna.next()["item"], anna.vote(key="1").json()["item"]
    anna.vote("tie", key="2")
    undone = anna.post("/api/undo", {"key": "u1"}).json()
    assert undone["item"]["prompt"] == second["prompt"]
    assert undone["item"]["left"] == second["left"]
    assert anna.post("/api/undo", {"key": "u1"}).json()["item"]["prompt"] == second["prompt"]
    assert anna.post("/api/undo", {"key": "u2"}).json()["item"]["prompt"] == first["prompt"]
    assert anna.post("/api/undo", {"key": "u3"}).status_code == 409
    assert study.store.answers() == []


def test_a_double_click_is_one_row_and_a_second_answer_a_conflict(study, anna):
    lease = anna.next()["item"]["lease"]
    vote = {"lease": lease, "answer": "tie", "key": "k"}
    assert [anna.post("/api/vote", vote).status_code for _ in range(2)] == [200, 200]
    assert anna.post("/api/vote", {**vote, "answer": "left"}).status_code == 409
    assert len(study.store.answers()) == 1


def test_at_the_end_there_is_no_item(study, anna):
    for number in range(4):
        last = anna.vote("skip", key=str(number), note="a language that I do not know")
    assert last.json() == {
        "item": None,
        "progress": {"answered": 4, "remaining": 0, "can_undo": True},
    }
    assert study.store.answer_counts()["skip"] == 4


WRONG_REQUESTS = {
    "no Origin": {"Origin": None},
    "a foreign Origin": {"Origin": "http://evil.example"},
    "a null Origin": {"Origin": "null"},
    "another port's Origin": {"Origin": "http://127.0.0.1:8766"},
    "a wrong Host": {"Host": "evil.example:8765"},
    "no Host's port": {"Host": "127.0.0.1"},
    "no token against forgery": {"X-CSRF-Token": None},
    "a wrong token against forgery": {"X-CSRF-Token": "0" * 64},
    "no session": {"Cookie": f"{COOKIE}="},
    "a forged session": {"Cookie": f"{COOKIE}=e30.{'0' * 64}"},
}


@pytest.mark.parametrize("wrong", WRONG_REQUESTS.values(), ids=WRONG_REQUESTS)
def test_what_no_page_of_ours_sends_is_403_and_no_row(study, anna, wrong):
    lease = anna.next()["item"]["lease"]
    before = (study.store.answers(), study.handout.leases())
    if "Cookie" in wrong:
        anna.client.cookies.clear()
    headers = {k: v for k, v in {**anna.headers, **wrong}.items() if v is not None}
    for path, body in (
        ("/api/vote", {"lease": lease, "answer": "left", "key": "k"}),
        ("/api/undo", {"key": "k"}),
        ("/api/adjudicate", {"subject": public_name(study.store.pairs()[0].pair_id)}),
    ):
        refused = anna.client.post(path, json=body, headers=headers)
        assert refused.status_code == 403, path
        assert set(refused.json()) == {"error"}
    assert before == (study.store.answers(), study.handout.leases())


@pytest.mark.parametrize("host", ["evil.example:8765", "127.0.0.1.evil.example:8765", ""])
def test_no_page_is_served_under_a_foreign_name(anna, host):
    """A name of somebody else's that leads to this machine is how other pages come in."""
    for path in ("/", "/api/next", "/static/page.js"):
        assert anna.client.get(path, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", ""])
def test_no_foreign_page_reads(anna, origin):
    assert anna.client.get("/api/next", headers={"Origin": origin}).status_code == 403


def test_a_wrong_token_does_not_come_in(application, study):
    for token, name in (
        ("", ""),
        ("wrong" * 10, "anna"),
        (OWNER[:-1], "anna"),
        (ANNA, "ben"),
        ("é" * 43, "anna"),
    ):
        person = Person(application, token, name)
        assert person.entered.status_code == 403
        assert "set-cookie" not in person.entered.headers
        assert person.client.get("/api/next").status_code == 403
    assert study.handout.leases() == []
    for name in ("", " ", "x" * 65, "a\nb"):
        assert Person(application, OWNER, name).entered.status_code == 422


def test_a_session_s_cookie_is_out_of_reach_of_scripts_and_other_sites(anna):
    cookie = anna.entered.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_behind_tls_a_session_s_cookie_never_travels_in_plain_text(study):
    """On this machine alone there is no TLS, and a browser would keep back such a cookie."""
    from starlette.testclient import TestClient

    name = "https://label.example.org"
    there = make_application(study, Access(OWNER, {"anna": ANNA}), Addresses.of(8765, [name]))
    said = {}
    for origin in (name, HOME):
        client = TestClient(there, base_url=origin)
        sent = {"token": ANNA, "annotator": ""}
        entered = client.post("/api/session", json=sent, headers={"Origin": origin})
        said[origin] = "; secure" in entered.headers["set-cookie"].lower()
    assert said == {name: True, HOME: False}


def test_two_studies_of_one_machine_know_their_own_sessions(application, study, anna):
    """On two ports; a browser keeps one jar for both, and the second page ended the first's."""
    other = make_application(study, Access(BEN, {}), Addresses.of(8765))
    second = Person(other, BEN, "me")
    for name, value in second.client.cookies.items():
        anna.client.cookies.set(name, value)
    assert anna.client.get("/api/session").json()["annotator"] == "anna"
    assert anna.vote().status_code == 200
    second.client.cookies.clear()
    for name, value in anna.client.cookies.items():
        second.client.cookies.set(name, value)
    assert second.client.get("/api/session").json()["annotator"] == "me"


def test_a_lease_is_good_for_its_annotator_alone(application, study, anna):
    """Neither another's answer nor another's pair is within reach."""
    lease = anna.next()["item"]["lease"]
    ben = Person(application, BEN)
    vote = {"lease": lease, "answer": "left", "key": "k"}
    assert ben.post("/api/vote", vote).status_code == 409
    assert study.store.answers() == []


def test_an_annotator_sees_no_overview_and_takes_nothing_away(study, anna):
    for path in ("/overview", "/export.jsonl"):
        assert anna.client.get(path).status_code == 403
    pair = public_name(study.store.pairs()[0].pair_id)
    assert anna.post("/api/adjudicate", {"subject": pair}).status_code == 403


def test_no_response_names_a_writer_or_says_more_than_it_must(application, study, anna):
    """Nor the pair's id, which may name them, nor why a pair was chosen."""
    owner = Person(application, OWNER, "owner")
    said = [owner.client.get(path).text for path in ("/", "/api/session", "/overview")]
    said += [owner.vote(answer, key=answer).text for answer in ("left", "tie")]
    said += [owner.post("/api/undo", {"key": "u"}).text, anna.client.get("/api/next").text]
    said += [anna.client.get(f"/static/page.{kind}").text for kind in ("js", "css")]
    assert not [text for text in said for writer in WRITERS if writer in text]
    assert {"lease", "question", "prompt", "left", "right"} == set(anna.next()["item"])


def test_every_response_forbids_scripts_that_are_not_ours(anna):
    for path in ("/", "/api/next", "/static/page.js", "/nowhere"):
        headers = anna.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert (headers["x-content-type-options"], headers["cache-control"]) == (
            "nosniff",
            "no-store",
        )
    page = anna.client.get("/").text
    assert "<script>" not in page
    assert " style=" not in page
    assert "onclick" not in page
    assert "http" not in page.replace('http-equiv="', "")
    assert "Look at &lt;b&gt;everything&lt;/b&gt;." in page


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 422),
        ("[]", 422),
        ("[" * 60_000, 422),
        ('{"answer": "left", "key": "k"}', 422),
        ('{"lease": 5, "answer": "left", "key": "k"}', 422),
        ('{"lease": "x", "answer": "first", "key": "k"}', 422),
        ('{"lease": "x", "answer": "left", "key": "k", "strength": 5}', 422),
        ('{"lease": "x", "answer": "left", "key": "k", "strength": true}', 422),
        ('{"lease": "x", "answer": "left", "key": ""}', 422),
        ('{"lease": "x", "answer": "left", "key": "k", "note": "' + "n" * 4001 + '"}', 422),
        ('{"lease": "x", "answer": "left", "key": "k"}', 409),
        ('{"note": "' + "n" * MAX_BODY + '"}', 413),
    ],
)
def test_a_body_that_is_no_vote_is_refused_in_a_sentence(study, anna, body, status):
    headers = {**anna.headers, "Content-Type": "application/json"}
    refused = anna.client.post("/api/vote", content=body, headers=headers)
    assert refused.status_code == status
    assert refused.json()["error"]
    assert study.store.answers() == []


def test_a_form_of_another_site_is_no_vote(study, anna):
    """A browser sends such a body across sites without asking, whatever it says."""
    vote = json.dumps({"lease": anna.next()["item"]["lease"], "answer": "left", "key": "k"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        headers = {**anna.headers, "Content-Type": kind}
        assert anna.client.post("/api/vote", content=vote, headers=headers).status_code == 422
    assert study.store.answers() == []


def test_what_is_neither_left_nor_right_has_no_strength(study, anna):
    for number, answer in enumerate(("tie", "both_bad", "left")):
        anna.vote(answer, key=f"{number}", strength=3)
    said = {answer.answer: answer.strength for answer in study.store.answers()}
    assert {said.pop("tie"), said.pop("both_bad")} == {None}
    assert [*said.values()] == [3]


def test_half_a_character_in_a_note_is_kept_as_a_question_mark(study, anna):
    lease = anna.next()["item"]["lease"]
    body = json.dumps({"lease": lease, "answer": "tie", "key": "k", "note": "\ud800 and \0"})
    headers = {**anna.headers, "Content-Type": "application/json"}
    assert anna.client.post("/api/vote", content=body, headers=headers).status_code == 200
    assert [answer.note for answer in study.store.answers()] == ["? and \0"]


def test_hostile_texts_come_as_they_are_and_only_as_json(application, study):
    study.store.add_pairs(
        [
            Pair(pair_id=f"hostile {n}", prompt=text, a=text + "a", b=text + "b")
            for n, text in enumerate(HOSTILE)
        ]
    )
    study.handout.fill(
        [WorkItem(subject=f"hostile {n}", rank=n, chosen_by="x") for n in range(len(HOSTILE))]
    )
    owner = Person(application, OWNER, "<script>alert(1)</script>")
    for text in HOSTILE:
        response = owner.client.get("/api/next")
        assert response.headers["content-type"] == "application/json"
        assert text == response.json()["item"]["prompt"]
        owner.vote(note=text[:4000], key="k")
    assert "<script>" not in owner.client.get("/overview").text


def test_the_overview_counts_and_a_disagreement_is_settled_by_the_owner(application, study, anna):
    ben, owner = Person(application, BEN), Person(application, OWNER, "owner")
    for number, who in enumerate((anna, ben)):
        for key in range(4):
            shown = who.next()["item"]
            wanted = "first" if number == 0 or key == 0 else "second"
            who.vote("left" if shown["left"].startswith(wanted) else "right", key=str(key))
    page = owner.client.get("/overview").text
    assert "4 of 4 pairs have an answer" in page
    assert "agree in 25 % of cases" in page
    assert "3 pairs of which people prefer different texts" in page
    for name in ("anna", "ben"):
        assert f"<bdi>{name}</bdi>" in page
    assert not [writer for writer in WRITERS if writer in page]
    split = page.split('data-subject="')[1].split('"')[0]
    token = owner.headers.pop("X-CSRF-Token")
    assert owner.post("/api/adjudicate", {"subject": split}).status_code == 403
    owner.headers["X-CSRF-Token"] = token
    settled = owner.post("/api/adjudicate", {"subject": split})
    assert settled.status_code == 200
    assert owner.post("/api/adjudicate", {"subject": "f" * 32}).status_code == 409
    assert owner.vote("left").status_code == 200
    assert "2 pairs of which people prefer different texts" in owner.client.get("/overview").text
    lines = owner.client.get("/export.jsonl").text.splitlines()
    assert len(lines) == 9
    assert {"prompt", "chosen", "rejected"} <= set(json.loads(lines[0]))


def test_a_database_that_fails_is_no_lost_vote(study, anna, monkeypatch):
    """The page sends the same vote again until it is stored."""
    lease = anna.next()["item"]["lease"]
    vote = {"lease": lease, "answer": "left", "key": "k"}
    with monkeypatch.context() as patch:
        from reward_models.preferences import StoreError

        def fail(_):
            raise StoreError("/home/anna/votes.sqlite cannot be used (disk full)")

        patch.setattr(study.handout, "answer", fail)
        failed = anna.post("/api/vote", vote)
        assert failed.status_code == 503
        assert "/home" not in failed.text
    assert anna.post("/api/vote", vote).status_code == 200
    assert len(study.store.answers()) == 1


def test_tokens_are_in_a_file_that_only_its_owner_reads(tmp_path):
    path = tmp_path / "access.json"
    access = Access.of_file(path, ["anna"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Access.of_file(path, ["anna", "ben"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (access.owner, access.annotators["anna"]) == (again.owner, again.annotators["anna"])
    assert Access.of_file(tmp_path / "other.json").owner != access.owner
    assert len({access.owner, *again.annotators.values()}) == 3
    session = access.enter(access.owner, "me")
    assert again.session(access.cookie(session)) == session, "a restart ends no session"
    for others_too in (0o640, 0o620, 0o604):
        path.chmod(others_too)
        with pytest.raises(AccessError, match="others can read"):
            Access.of_file(path)
    for text in ("", "[]", "{}", '{"owner": 3, "annotators": {}}'):
        (tmp_path / "wrong.json").write_text(text)
        (tmp_path / "wrong.json").chmod(0o600)
        with pytest.raises(AccessError, match="no access file"):
            Access.of_file(tmp_path / "wrong.json")
    with pytest.raises(AccessError, match="shorter"):
        Access("secret", {})


def test_a_session_ends_and_none_is_good_for_another_study(monkeypatch):
    access = Access(OWNER, {})
    session = access.enter(OWNER, "me")
    cookie = access.cookie(session)
    assert access.session(cookie) == session
    assert Access(BEN, {}).session(cookie) is None
    assert access.forgery_token(session) != access.forgery_token(access.enter(OWNER, "me"))
    monkeypatch.setattr(time, "time", lambda: session.until + 1)
    assert access.session(cookie) is None


@pytest.mark.parametrize("known", [False, True])
def test_the_overview_counts_repeats_and_known_answers_and_no_program_s_sides(study, known):
    config = HandoutConfig(repeat_every=0 if known else 2, known_every=2 if known else 0)
    handout = Handout(study.store, config)
    expected = [None, "a", None, "a"] if known else [None] * 4
    handout.fill(
        [
            WorkItem(subject=pair.pair_id, rank=n, chosen_by="random", expected=expected[n])
            for n, pair in enumerate(study.store.pairs())
        ]
    )
    for number, said in enumerate("aaab"):  # the second and fourth are what is counted
        lease = handout.next("anna")
        assert lease.purpose == ("study", "known" if known else "repeat")[number % 2]
        side = "left" if lease.shown_left == said else "right"
        handout.answer(Vote(lease=lease.lease, annotator="anna", answer=side, key="k"))
    first = study.store.pairs()[0].pair_id
    study.store.record_answers([Answer(pair_id=first, annotator="program", answer="a")])
    anna, program = summarise(study.store, handout)["annotators"]
    assert (anna["repeats"], anna["known"]) == (((0, 0), (1, 2)) if known else ((1, 2), (0, 0)))
    assert (program["left"], program["answers"]) == (None, 1)


SAID = {
    "rank": ([2, 0, 1], {"prompt", "completions", "ranks", "annotator"}),
    "rate": (4, {"prompt", "completion", "rating", "annotator"}),
    "spans": ([[0, 3, "good"]], {"prompt", "completion", "spans", "annotator"}),
}


@pytest.fixture(params=SAID)
def sheets(request, tmp_path):
    """Three hostile texts of one prompt, about which something else is asked."""
    texts = [(HOSTILE[5][:50], text, WRITERS[n % 2]) for n, text in enumerate(HOSTILE[:3])]
    with PreferenceStore(tmp_path / "sheets.sqlite") as store:
        made = make_sheets(texts, request.param)
        store.add_sheets(made)
        handout = Handout(store, HandoutConfig(repeat_every=0), question=request.param)
        handout.fill(
            [
                WorkItem(subject=sheet.sheet_id, rank=n, chosen_by="random", question=request.param)
                for n, sheet in enumerate(made)
            ]
        )
        yield Study(store=store, handout=handout, rubric="")


OPPOSED = {  # what two people say of three texts or of one, and how the overview puts it
    "rank": ([0, 1, 2], [0, 2, 1], "text 1, then 2, then 3", "text 1, then 3, then 2"),
    "rate": (2, 4, "2", "4"),
    "spans": (
        [[0, 3, "good"]],
        [[2, 5, "bad"]],
        "good “{0[0]}{0[1]}{0[2]}”",
        "bad “{0[2]}{0[3]}{0[4]}”",
    ),
}
ALIKE = {"rank": [[0, 1, 2]] * 2, "rate": [3, 4], "spans": [[[0, 3, "good"]], [[3, 5, "bad"]]]}


def by_number(question, said, order):
    """What is sent for an order of numbers, where the texts stand as they were drawn."""
    return [order.index(number) for number in said] if question == "rank" else said


def judged(store, handout, name, said):
    """Somebody says something of what comes next."""
    lease = handout.next(name)
    sent = by_number(handout.question, said, lease.order)
    handout.answer(SheetVote(lease=lease.lease, annotator=name, said=sent, key="k"))
    return lease.sheet


def test_sheets_that_people_contradict_each_other_about_are_settled(sheets):
    question = sheets.handout.question
    config = HandoutConfig(repeat_every=0, answers=2)
    handout = Handout(sheets.store, config, question=question)
    handout.fill(sheets.handout.items())
    study = Study(store=sheets.store, handout=handout, rubric="")
    owner = Person(make_application(study, Access(OWNER, {}), Addresses.of(8765)), OWNER, "owner")
    one, other, *words = OPPOSED[question]
    sheet = judged(sheets.store, handout, "anna", one)
    page = owner.client.get("/overview").text
    assert "data-subject" not in page, "of one person nobody is of another opinion"
    assert sheet == judged(sheets.store, handout, "ben", other)
    page = owner.client.get("/overview").text
    assert re.search(r">1 (sets of )?texts .*, and that are not settled", page)
    for name, said in zip(("anna", "ben"), words, strict=True):
        shown = html.escape(said.format(sheet.texts[0])).replace("&quot;", "&#34;")
        assert f"<bdi>{name}</bdi>: <bdi>{shown}</bdi>" in page
    assert "<script>alert" not in page
    assert not any(writer in page for writer in WRITERS)
    if question != "rank":  # of which there is one alone
        for name, said in zip(("anna", "ben"), ALIKE[question], strict=True):
            judged(sheets.store, handout, name, said)
        page = owner.client.get("/overview").text
    (split,) = re.findall('data-subject="(.*?)"', page)
    assert sheet.sheet_id not in page
    settled = owner.post("/api/adjudicate", {"subject": split}).json()["item"]
    assert sorted(settled["texts"]) == sorted(sheet.texts)
    assert split in owner.client.get("/overview").text, "it is not settled before it is answered"
    vote = {"lease": settled["lease"], "said": ALIKE[question][0], "key": "k"}
    assert owner.post("/api/vote", vote).status_code == 200
    page = owner.client.get("/overview").text
    assert "data-subject" not in page
    assert "<bdi>owner</bdi>" in page
    assert len(sheets.store.judgements()) == (3 if question == "rank" else 5)
    owner.post("/api/undo", {"key": "u"})
    assert split in owner.client.get("/overview").text, "what was taken back settles nothing"


def test_of_one_person_the_latest_opinion_counts(sheets):
    question = sheets.handout.question
    handout = Handout(sheets.store, HandoutConfig(repeat_every=2), question=question)
    one, other, *_ = OPPOSED[question]
    sheet = judged(sheets.store, handout, "anna", one)
    assert sheet == judged(sheets.store, handout, "anna", other), "it comes again"
    assert summarise(sheets.store, handout)["disagreements"]["number"] == 0


def test_a_sheet_is_shown_judged_and_exported(sheets):
    application = make_application(sheets, Access(OWNER, {"anna": ANNA}), Addresses.of(8765))
    anna, owner = Person(application, ANNA), Person(application, OWNER, "owner")
    said, columns = SAID[sheets.handout.question]
    turn = anna.next()
    assert set(turn["item"]) == {"lease", "question", "prompt", "texts"}
    assert not any(writer in json.dumps(turn) for writer in WRITERS)
    vote = {"lease": turn["item"]["lease"], "said": said, "key": "k"}
    for wrong in ("left", [], {}, 0, [[0, 1, "fine"]], True, [[0]], [0, 0, 1, 2]):
        if (sheets.handout.question, wrong) != ("spans", []):
            assert anna.post("/api/vote", {**vote, "said": wrong}).status_code == 422, wrong
    assert anna.post("/api/vote", {**vote, "note": "n" * 4001}).status_code == 422
    del anna.headers["X-CSRF-Token"]
    assert anna.post("/api/vote", vote).status_code == 403
    anna.headers["X-CSRF-Token"] = anna.entered.json()["csrf"]
    pair_vote = {"lease": vote["lease"], "answer": "left", "key": "k"}
    assert anna.post("/api/vote", pair_vote).status_code == 409
    assert sheets.store.judgements() == []
    following = anna.post("/api/vote", vote).json()
    assert following["progress"]["answered"] == 1
    assert anna.post("/api/vote", vote).json() == following, "the same again is the same vote"
    assert len(sheets.store.judgements()) == 1
    assert anna.client.get("/export.jsonl").status_code == 403
    (line,) = owner.client.get("/export.jsonl").text.splitlines()
    row = json.loads(line)
    assert set(row) == columns
    shown = turn["item"]["texts"]
    if sheets.handout.question == "rank":
        assert row["completions"] == [shown[2], shown[0], shown[1]]
    else:
        assert row["completion"] == shown[0]
        assert row.get("rating", 4) == 4
        assert row.get("spans", said) == said
    page = owner.client.get("/overview").text
    assert "<script>alert" not in page
    assert not any(writer in page for writer in WRITERS)
