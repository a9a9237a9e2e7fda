"""Plan files: the shipped ones load; a broken one is told by line, key and remedy."""

from pathlib import Path

import pytest

from tools.simulate import plan as plans
from tools.simulate.errors import PlanError

FOLDER = Path(plans.__file__).parent
ESTATE = FOLDER / "estate.toml"


@pytest.mark.parametrize("name", ["estate.toml", "hour.toml"])
def test_shipped_plans_load(name: str) -> None:
    plan = plans.load(FOLDER / name)
    assert plan.tags
    assert plan.barriers
    assert plan.faults


def test_the_estate_is_what_the_readme_says() -> None:
    plan = plans.load(ESTATE)
    assert plan.length_ms == 8 * 3_600_000
    assert plan.begin_min == 22 * 60
    assert len(plan.tags) >= 2
    assert len(plan.checkpoints) >= 12
    assert len(plan.barriers) == 2
    assert {h.kind for h in plan.happenings} >= {"missed", "incident", "sos"}
    kinds = {fault.kind for fault in plan.faults}
    assert kinds == {"office_unreachable", "edge_killed", "power_cut", "acks_lost"}
    hour = next(fault for fault in plan.faults if fault.kind == "office_unreachable")
    assert hour.to_ms - hour.from_ms == 3_600_000
    # 22:00 at UTC+8 is 14:00 UTC
    assert plan.epoch_ms % 86_400_000 == 14 * 3_600_000


CASES = [
    ('from = "22:00"', 'from = "25:00"', "[night] from", "a time of day such as"),
    ('to = "06:00"', 'to = "22:05"', "[night] to", "10 minutes to 12 hours"),
    ('date = "2026-03-14"', 'date = "14.3.2026"', "[night] date", '"2026-03-14"'),
    ('utc_offset = "+08:00"', 'utc_offset = "CST"', "[night] utc_offset", '"+08:00"'),
    ('uid = "04A1B202C30002"', 'uid = "04A1B202C3000"', "[checkpoint] uid", "8, 14 or 20 digits"),
    ('uid = "04A1B202C30002"', 'uid = "04A1B201C30001"', "[checkpoint] uid", 'belongs to "gate-east"'),
    ('id = "garage-2"', 'id = "garage-1"', "[checkpoint] id", "no other checkpoint"),
    ('"garage-1", "garage-2"', '"garage-1", "garag-2"', "[tag] route", 'did you mean "garage-2"?'),
    ("every_min = 60", "evry_min = 60", "[tag] evry_min", 'did you mean "every_min"?'),
    ("every_min = 60", 'every_min = "60"', "[tag] every_min", "a whole number from 5 to 1,440"),
    ("every_min = 60", "every_min = 15", "[tag] every_min", "long enough for the slowest walk"),
    ("walk_s = [70, 210]", "walk_s = [210, 70]", "[tag] walk_s", "[shortest, longest]"),
    ('guard = "li"', 'guard = "zhang"', "[tag] guard", "a guard who carries no other tag"),
    ('guard = "li"', 'guard = "lee"', "[tag] guard", "one of zhang, li"),
    ("id = 202", "id = 101", "[barrier] id", "this one is a tag"),
    ('direction = "out"', 'direction = "up"', "[barrier] direction", "one of in, out"),
    ('kind = "missed"', 'kind = "mised"', "[happening] kind", '(did you mean "missed"?)'),
    ("round = 3", "round = 30", "[happening] round", "from 1 to 8"),
    ('card = "fire-lane"', 'card = "fire-lain"', "[happening] card", '(did you mean "fire-lane"?)'),
    ("per_hour = [62, 40,", "per_hour = [40,", "[traffic] per_hour", "a list of 8 whole numbers"),
    ("denied = 0.02", "denied = 2", "[traffic] denied", "a number from 0 to 1"),
    (
        "first_card = 40001",
        "first_card = 20100",
        "[traffic] first_card",
        "don't overlap with those of resident",
    ),
    ('from = "00:30"', 'from = "12:30"', "[fault] from", "inside the night"),
    ("off_s = 300", 'to = "02:20"', "[fault] to", "right are at and off_s"),
    ('device = 101\nat = "03:20"', 'device = 201\nat = "03:20"', "[fault] device", "a tag"),
    ("[estate]", "[estat]", "[estat]", 'did you mean "estate"?'),
]


@pytest.mark.parametrize(
    ("old", "new", "key", "right"), CASES, ids=[case[2] + " " + case[1][:20] for case in CASES]
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, key: str, right: str) -> None:
    content = ESTATE.read_text(encoding="utf-8")
    assert old in content
    broken = tmp_path / "broken.toml"
    changed = content.replace(old, new, 1)
    broken.write_text(changed, encoding="utf-8")
    with pytest.raises(PlanError) as caught:
        plans.load(broken)
    text = str(caught.value)
    assert key in text
    assert right in text
    assert "\n" not in text
    assert caught.value.line is not None
    # the line that is named belongs to the table that was changed
    lines = changed.splitlines()
    table = key.split("]", maxsplit=1)[0] + "]"
    above = [line for line in lines[: caught.value.line] if line.startswith("[")]
    assert above[-1].strip("[]") == table.strip("[]")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[estate\n", "broken.toml:1: is not TOML"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"", "[estate]: is missing"),
        (b"estate = 3\n", "[estate]"),
        (b"[night]\nfrom = 1\n", "[estate]: is missing"),
    ],
)
def test_what_is_no_plan_at_all(tmp_path: Path, content: bytes, words: str) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_bytes(content)
    with pytest.raises(PlanError) as caught:
        plans.load(broken)
    assert words in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="can't be read"):
        plans.load(tmp_path / "nowhere.toml")
