"""Who may send: one-time codes, signed batches, revocation, wrong tries; the real server on a real socket."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest

from edge_agent.identity import fingerprint
from edge_agent.one_time_code import new_code
from edge_agent.sync import signing
from tools.office import commands
from tools.office.tests.edge import Answer, Edge, ticket
from tools.office.tests.makers import Device, body
from tools.office.tests.process import Server, batches, configure, minted, running, sha, upload_headers

DEVICE = Device(101)
DEVICE.work(400)


class Place:
    """A server and its configuration."""

    def __init__(self, config: Path, server: Server) -> None:
        self.config, self.server = config, server

    def edge(self, name: str = "pi-1", source: str = "127.0.0.1") -> Edge:
        return Edge(self.server.port, name, source=source)

    def enrolled(self, name: str = "pi-1") -> Edge:
        edge = self.edge(name)
        assert edge.enrol(ticket(self.config, self.server.port, name))[0] == 200
        return edge

    def security(self) -> dict[str, list[dict[str, object]]]:
        found: dict[str, list[dict[str, object]]] = self.server.get("/api/v1/edges")
        return found

    def batches(self) -> int:
        with sqlite3.connect(f"file:{self.config.parent / 'data' / 'office.db'}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM batch").fetchone()[0])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    config = configure(tmp_path, [DEVICE])
    with running(config) as server:
        yield Place(config, server)


def field(answer: Answer) -> tuple[int, str]:
    return answer[0], answer[2]["error"]["field"]


def test_a_code_lets_one_key_in_and_its_batches_count(place: Place) -> None:
    edge = place.edge()
    raw = body([DEVICE.row(1, 20)])
    assert field(edge.send(raw)) == (401, "authorization")
    told = ticket(place.config, place.server.port)
    status, _, said = edge.enrol(told)
    assert (status, said["site"], said["edge"]) == (200, "lakeside", "pi-1")
    status, _, receipt = edge.send(raw)
    assert (status, receipt["devices"]["101"]["complete_to"]) == (200, 20)
    found = place.security()
    assert [(one["edge"], one["key"], one["revoked_ms"]) for one in found["edges"]] == [
        ("pi-1", fingerprint(edge.identity.public), None)
    ]
    assert [one["what"] for one in found["steps"]] == ["enrolled", "code"]
    assert found["alarms"] == []
    assert place.server.history(101) == minted(DEVICE)[:20]


def test_a_code_stands_nowhere_but_in_its_line(place: Place) -> None:
    told = ticket(place.config, place.server.port)
    assert place.edge().enrol(told)[0] == 200
    files = [path for path in place.config.parent.rglob("*") if path.is_file()]
    assert len(files) > 4
    for path in files:
        assert told.code.encode() not in path.read_bytes(), path.name


def test_only_the_edge_itself_for_its_own_site(place: Place) -> None:
    """A batch that was changed, sent on, or signed by who knows only what is public."""
    edge, other = place.enrolled(), place.enrolled("pi-2")
    raw = body([DEVICE.row(1, 20)])
    good = edge.signed(raw)
    altered = raw.replace(b"pi-1", b"pi-2")
    thief = place.edge()  # it knows everything that the office stores of the edge, but not the private half
    thief.nonce = edge.nonce
    refused = {
        "altered body": edge.ask("POST", batches("lakeside"), raw[:-1] + b"\x00", good),
        "altered body of the same length": edge.ask("POST", batches("lakeside"), altered, good),
        "another site": edge.ask("POST", batches("east"), raw, good),
        "signed for another site": edge.send(body([DEVICE.row(1, 20)], site="east"), "east"),
        "another edge's name": edge.ask(
            "POST", batches("lakeside"), raw, {**good, "Authorization": good["Authorization"].replace("pi-1", "pi-2")}
        ),
        "stolen public data": thief.send(raw),
        "a signature of zeros": edge.ask(
            "POST", batches("lakeside"), raw,
            {**good, "Authorization": good["Authorization"].rpartition("=")[0] + "=" + "A" * 86},
        ),
        "half a header": edge.ask(
            "POST", batches("lakeside"), raw, {**good, "Authorization": good["Authorization"][:100]}
        ),
        "a nonce of its own": edge.ask(
            "POST", batches("lakeside"), raw,
            {**good, "Authorization": signing.sign(edge.identity, "pi-1", "0" * 32, "POST", batches("lakeside"), raw)},
        ),
    }  # fmt: skip
    for what, answer in refused.items():
        assert answer[0] == 401, (what, answer)
    assert field(other.send(raw)) == (422, "edge")  # signed by pi-2, says pi-1 within
    assert place.batches() == 0
    assert edge.send(raw)[0] == 200
    print(f"{len(refused) + 1} forgeries refused")


def test_a_replay_changes_nothing_and_ends_with_its_nonce(place: Place) -> None:
    edge = place.enrolled()
    raw = body([DEVICE.row(1, 20)])
    headers = edge.signed(raw)
    first = edge.ask("POST", batches("lakeside"), raw, headers)
    for _ in range(10):
        again = edge.ask("POST", batches("lakeside"), raw, headers)
        assert again[::2] == first[::2]
    assert place.server.history(101) == minted(DEVICE)[:20]
    place.server.kill()
    with running(place.config) as server:  # its nonces are others
        edge.port = server.port
        assert field(edge.ask("POST", batches("lakeside"), raw, headers)) == (401, "nonce")
        assert edge.send(raw)[0] == 200  # with the nonce of the refusal
        assert server.history(101) == minted(DEVICE)[:20]


def test_a_token_can_not_send_for_an_enrolled_edge(place: Place) -> None:
    raw = body([DEVICE.row(1, 20)])
    assert place.server.send(raw)[0] == 200
    place.enrolled()
    status, answer = place.server.send(raw)
    assert (status, answer["error"]["field"]) == (403, "edge")
    assert place.server.send(raw.replace(b"pi-1", b"pi-9"))[0] == 200


def test_without_a_token_only_enrolled_edges_send(tmp_path: Path) -> None:
    config = configure(tmp_path, [DEVICE], sites='[[site]]\nid = "west"\n')
    with running(config) as server:
        for token in ("", "none", "\0", sha("")):
            headers = upload_headers("west", token or " ")
            status, _, _ = server.ask("POST", batches("west"), body([], site="west"), headers)
            assert status in (400, 401)
        place = Place(config, server)
        edge = place.edge()
        assert edge.enrol(ticket(config, server.port, site="west"))[0] == 200
        assert edge.send(body([DEVICE.row(1, 9)], site="west"), "west")[0] == 200


def test_revoked_from_the_next_batch_on(place: Place) -> None:
    """By another process, while the server runs and batches are under way: nothing gets in behind the revocation."""
    edges = [place.enrolled(f"pi-{n}") for n in (1, 2)]
    stop = threading.Event()
    answers: list[Counter[int]] = [Counter(), Counter()]

    def send(number: int) -> None:
        edge = edges[number]
        raw = cbor2.dumps({**cbor2.loads(body([DEVICE.row(1, 20)])), "edge": edge.edge})
        while not stop.is_set():
            answers[number][edge.send(raw)[0]] += 1

    threads = [threading.Thread(target=send, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    wait(lambda: all(found[200] >= 5 for found in answers))
    assert commands.revoke(place.config, "lakeside", "pi-1").startswith("lakeside/pi-1: revoked")
    with sqlite3.connect(place.config.parent / "data" / "office.db") as db:
        taken = "SELECT count(*) FROM batch WHERE edge = 'pi-1'"
        at_once = db.execute(taken).fetchone()[0]
        wait(lambda: answers[0][403] >= 20 and answers[1][200] >= answers[0][200] + 5)
        stop.set()
        for thread in threads:
            thread.join()
        assert db.execute(taken).fetchone()[0] == at_once
    assert answers[0].keys() == {200, 403}
    assert answers[1].keys() == {200}
    print(f"revoked after {answers[0][200]} batches, {answers[0][403]} refused, the other edge sent {answers[1][200]}")
    assert edges[0].send(body([]))[2]["error"] == {"field": "edge", "message": "is revoked: enrol it again"}
    # A code that was made before counts no longer either; a new one lets it in again.
    told = ticket(place.config, place.server.port)
    commands.revoke(place.config, "lakeside", "pi-1")
    assert edges[0].enrol(told)[0] == 401
    assert edges[0].enrol(ticket(place.config, place.server.port))[0] == 200
    assert edges[0].send(body([DEVICE.row(1, 20)]))[0] == 200
    assert [one["what"] for one in place.security()["steps"] if one["edge"] == "pi-1"][::-1] == [
        "code", "enrolled", "revoked", "code", "code", "enrolled"
    ]  # fmt: skip


def test_another_key_replaces_the_first(place: Place) -> None:
    old, new = place.enrolled(), place.enrolled()
    assert field(old.send(body([]))) == (401, "authorization")
    assert new.send(body([]))[0] == 200
    steps = place.security()["steps"]
    assert [(one["what"], one["key"]) for one in steps if one["what"] != "code"] == [
        ("replaced", fingerprint(new.identity.public)), ("enrolled", fingerprint(old.identity.public))
    ]  # fmt: skip


def test_a_code_is_good_once_and_says_the_same_to_who_used_it(place: Place) -> None:
    """An answer that was lost is asked for again; anybody else with the code is refused, and that is an alarm."""
    told = ticket(place.config, place.server.port)
    edge = place.edge()
    first = edge.enrol(told)
    assert edge.enrol(told)[::2] == first[::2]
    status, _, said = place.edge().enrol(told)
    assert (status, said["error"]["field"]) == (401, "code")
    assert "used already" in said["error"]["message"]
    assert [(one["kind"], one["tries"]) for one in place.security()["alarms"]] == [("code_used", 1)]
    assert edge.send(body([]))[0] == 200
    newer = ticket(place.config, place.server.port)
    assert field(place.edge().enrol(told)) == (401, "code")  # not even "used": a newer one was made
    assert place.edge().enrol(newer)[0] == 200


def test_a_race_for_one_code_has_one_winner(place: Place) -> None:
    rounds, racers = 12, 6
    seen: Counter[int] = Counter()
    for number in range(rounds):
        name = f"pi-{number}"
        told = ticket(place.config, place.server.port, name)
        edges = [place.edge(name, f"127.0.{number}.{at + 1}") for at in range(racers)]
        answers: list[Answer] = []
        start = threading.Barrier(racers)

        def show(edge: Edge) -> None:
            start.wait()  # noqa: B023 - joined below
            answers.append(edge.enrol(told))  # noqa: B023 - joined below

        threads = [threading.Thread(target=show, args=(edge,)) for edge in edges]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        statuses = Counter(answer[0] for answer in answers)
        assert statuses == {200: 1, 401: racers - 1}
        seen += statuses
        raw = cbor2.dumps({**cbor2.loads(body([])), "edge": name})
        assert Counter(edge.send(raw)[0] for edge in edges) == {200: 1, 401: racers - 1}
    print(f"{rounds} codes, {racers} keys for each: {seen[200]} let in, {seen[401]} refused")


def test_an_expired_code(place: Place) -> None:
    told = ticket(place.config, place.server.port, minutes=1)
    with sqlite3.connect(place.config.parent / "data" / "office.db") as db:
        db.execute("UPDATE enrolment_code SET expires_ms = expires_ms - 60000")
    status, _, said = place.edge().enrol(told)
    assert (status, "expired" in said["error"]["message"]) == (401, True)
    assert place.security()["edges"] == []


def test_five_wrong_codes_then_waiting_and_an_alarm(place: Place) -> None:
    told = ticket(place.config, place.server.port)
    guesser = place.edge(source="127.0.0.66")
    for _ in range(5):
        assert field(guesser.enrol(told._replace(code=new_code()))) == (401, "code")
    status, headers, _ = guesser.enrol(told)  # the right one comes too late
    assert status == 429
    assert 0 < int(headers["retry-after"]) <= 61
    assert field(place.edge(source="127.0.0.67").enrol(told))[0] == 429  # this edge's codes wait, whoever asks
    other = ticket(place.config, place.server.port, "pi-2")
    assert guesser.enrol(other)[0] == 429  # and this source, whatever it asks for
    assert place.edge("pi-2", "127.0.0.67").enrol(other)[0] == 200
    alarms = place.security()["alarms"]
    assert {(one["kind"], one["source"], one["tries"]) for one in alarms} == {
        ("code", "127.0.0.66", 5), ("edge", "lakeside/pi-1", 5)
    }  # fmt: skip
    assert [line["level"] for line in place.server.log() if line["event"] == "wrong tries of a secret"] == ["error"] * 2
    texts = {"zh": ("登记码", "错误", "查看"), "en": ("one-time code", "Wrong tries", "have a look")}
    for language, words in texts.items():
        pages = "".join(place.server.ask("GET", f"{path}?lang={language}")[2].decode() for path in ("/", "/edges"))
        for word in (*words, "127.0.0.66"):
            assert word in pages
    # An edge that sends is none the wiser.
    place.server.kill()
    with running(place.config) as server:  # the alarm stays, the waiting does not
        again = Edge(server.port, source="127.0.0.66")
        assert again.enrol(told)[0] == 200
        assert len(server.get("/api/v1/edges")["alarms"]) == 2


def test_guesses_at_the_same_moment_are_no_more_tries(place: Place) -> None:
    """Forty at once: five are judged."""
    told = ticket(place.config, place.server.port)
    guessers = [place.edge(source="127.0.0.66") for _ in range(40)]
    start = threading.Barrier(len(guessers))
    seen: list[int] = []

    def guess(edge: Edge) -> None:
        start.wait()
        seen.append(edge.enrol(told._replace(code=new_code()))[0])

    threads = [threading.Thread(target=guess, args=(edge,)) for edge in guessers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(seen) == {401: 5, 429: 35}


def test_a_guesser_does_not_keep_edges_from_sending(place: Place) -> None:
    edge = place.enrolled()
    told = ticket(place.config, place.server.port)
    for _ in range(6):
        edge.enrol(told._replace(code=new_code()))
    assert edge.enrol(told)[0] == 429
    assert edge.send(body([DEVICE.row(1, 20)]))[0] == 200


def test_wrong_upload_tokens_wait_by_source_and_site(place: Place) -> None:
    tries = [place.server.send(b"", token="guess")[0] for _ in range(7)]
    assert tries == [401] * 5 + [429] * 2
    assert place.server.send(body([]))[0] == 429
    assert place.server.send(body([], site="east"), "east")[0] == 200
    assert place.enrolled().send(body([]))[0] == 200
    assert [(one["kind"], one["source"]) for one in place.security()["alarms"]] == [("token", "127.0.0.1 lakeside")]


def test_wrong_viewer_tokens_wait_and_who_is_in_stays_in(tmp_path: Path) -> None:
    with running(configure(tmp_path, extra=f'viewer_token_sha256 = "{sha("look")}"')) as server:
        _, headers, _ = server.ask("POST", "/login", b"token=look")
        cookie = {"Cookie": headers["set-cookie"].partition(";")[0]}
        assert "look" not in cookie["Cookie"].partition("=")[2]
        for number in range(5):
            if number % 2:
                assert server.ask("POST", "/login?lang=en", b"token=guess")[0] == 401
            else:
                assert server.ask("GET", "/api/v1/sites", None, {"Authorization": "Bearer guess"})[0] == 401
        status, _, page = server.ask("POST", "/login?lang=en", b"token=look")
        assert (status, b"Too many wrong tries" in page) == (429, True)
        assert "错误次数过多" in server.ask("POST", "/login?lang=zh", b"token=look")[2].decode()
        status, headers, _ = server.ask("GET", "/api/v1/sites", None, {"Authorization": "Bearer look"})
        assert (status, int(headers["retry-after"]) > 0) == (429, True)
        assert server.ask("GET", "/api/v1/sites", None, cookie)[0] == 200
        assert server.ask("GET", "/", None, {"Cookie": "viewer=" + "0" * 64})[0] == 303  # no try: it can't be guessed
        alarms = server.get("/api/v1/edges", cookie)["alarms"]
        assert [(one["kind"], one["source"]) for one in alarms] == [("login", "127.0.0.1")]
        assert int(alarms[0]["tries"]) >= 5
        config = tmp_path / "office.toml"
        server.kill()
    with running(config) as server:
        assert server.ask("GET", "/api/v1/sites", None, cookie)[0] == 200  # a restart signs nobody out
    config.write_text(config.read_text().replace(sha("look"), sha("other")))
    with running(config) as server:
        assert server.ask("GET", "/api/v1/sites", None, cookie)[0] == 401  # another token does


@pytest.mark.parametrize(
    ("changes", "status", "name"),
    [
        ({"v": 2}, 422, "v"), ({"v": True}, 422, "v"), ({"code": "x"}, 422, "code"), ({"code": 5}, 422, "code"),
        ({"code": "é" * 20}, 422, "code"), ({"public_key": "00"}, 422, "public_key"),
        ({"public_key": "zz" * 32}, 422, "public_key"), ({"public_key": None}, 422, "public_key"),
        ({"proof": "00" * 64}, 401, "proof"), ({"public_key": "00" * 32}, 401, "proof"),
        ({"public_key": "ff" * 32}, 401, "proof"), ({"more": 1}, 422, "body"), ({"v": [1]}, 400, "body"),
        ({"v": {"a": 1}}, 400, "body"), ({"code": "x" * 3000}, 413, "body"),
    ],
)  # fmt: skip
def test_bad_enrolments(quiet: Place, changes: dict[str, object], status: int, name: str) -> None:
    told = ticket(quiet.config, quiet.server.port, "pi-7")
    assert field(quiet.edge().enrol(told, **changes)) == (status, name)
    assert quiet.security()["edges"] == []


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    config = configure(tmp_path_factory.mktemp("quiet"), [DEVICE])
    with running(config) as server:
        yield Place(config, server)


def wait(condition: object, deadline_s: float = 30.0) -> None:
    """Asks again until it is so; fails at the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.005)  # asks again; nothing is right only because of it
