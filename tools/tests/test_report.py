"""The table can fail: every kind of damage to a store's copy is found and makes the night not well."""

from tools.device_code import JournalEvent
from tools.simulate import report
from tools.simulate.report import Chain, DeviceReport, EdgeRun, Finding, OfficeRow, Verdict

FLASH = [
    JournalEvent(seq, 1 + (seq > 12), seq * 50 if seq <= 12 else seq, bytes([0x81, seq % 24]), bytes(8))
    for seq in range(1, 21)
]
EDGE = [EdgeRun(1, 8, 1), EdgeRun(9, 12, 1), EdgeRun(13, 20, 2)]
OFFICE = [
    OfficeRow(e.seq, e.boot, e.uptime_cs, e.payload, 1000 + e.seq * 10, 1020 + e.seq * 10) for e in FLASH
]


def judged(
    flash: list[JournalEvent] | None = None,
    edge: list[EdgeRun] | None = None,
    office: list[OfficeRow] | None = None,
    chain: Chain | None = None,
) -> DeviceReport:
    return report.compare(
        101,
        "tag",
        FLASH if flash is None else flash,
        EDGE if edge is None else edge,
        OFFICE if office is None else office,
        Chain(20, 0) if chain is None else chain,
    )


def well(found: DeviceReport) -> bool:
    return Verdict(devices=[found], faults=[Finding("x", so=True, evidence="")]).good


def test_all_zeros() -> None:
    found = judged()
    assert (found.minted, found.edge, found.office) == (20, 20, 20)
    assert (found.missing, found.duplicated, found.out_of_order, found.altered, found.invented) == (
        0,
        0,
        0,
        0,
        0,
    )
    assert well(found)


def test_a_removed_row_is_missing() -> None:
    found = judged(office=OFFICE[:4] + OFFICE[5:])
    assert found.missing == 1
    assert not well(found)


def test_the_newest_row_removed_is_missing() -> None:
    assert judged(office=OFFICE[:-1]).missing == 1


def test_a_doubled_row_is_duplicated() -> None:
    found = judged(office=[*OFFICE[:5], OFFICE[4], *OFFICE[5:]])
    assert found.duplicated == 1
    assert not well(found)


def test_an_event_under_two_boots_is_duplicated() -> None:
    found = judged(office=[*OFFICE[:5], OFFICE[4]._replace(boot=2), *OFFICE[5:]])
    assert found.duplicated == 1
    assert not well(found)


def test_overlapping_runs_at_the_edge_are_duplicated() -> None:
    found = judged(edge=[EdgeRun(1, 9, 1), EdgeRun(9, 12, 1), EdgeRun(13, 20, 2)])
    assert found.duplicated == 1
    assert not well(found)


def test_swapped_rows_are_out_of_order() -> None:
    found = judged(office=[*OFFICE[:4], OFFICE[5], OFFICE[4], *OFFICE[6:]])
    assert found.out_of_order == 1
    assert not well(found)


def test_swapped_contents_are_out_of_order_and_altered() -> None:
    fifth, sixth = OFFICE[4], OFFICE[5]
    swapped = [
        *OFFICE[:4],
        fifth._replace(uptime_cs=sixth.uptime_cs, payload=sixth.payload),
        sixth._replace(uptime_cs=fifth.uptime_cs, payload=fifth.payload),
        *OFFICE[6:],
    ]
    found = judged(office=swapped)
    assert (found.out_of_order, found.altered) == (1, 2)
    assert not well(found)


def test_a_time_of_day_that_contradicts_the_order() -> None:
    found = judged(office=[*OFFICE[:9], OFFICE[9]._replace(t_lo_ms=500, t_hi_ms=520), *OFFICE[10:]])
    assert found.out_of_order == 1
    assert not well(found)


def test_an_altered_payload() -> None:
    found = judged(office=[*OFFICE[:9], OFFICE[9]._replace(payload=b"\x81\x17"), *OFFICE[10:]])
    assert found.altered == 1
    assert not well(found)


def test_an_invented_row() -> None:
    found = judged(office=[*OFFICE, OfficeRow(21, 2, 21, b"\x81\x01", 1210, 1230)])
    assert found.invented == 1
    assert not well(found)


def test_a_hole_in_the_flash_itself_is_missing() -> None:
    found = judged(flash=FLASH[:6] + FLASH[7:], office=OFFICE[:6] + OFFICE[7:])
    assert found.missing == 1
    assert not well(found)


def test_a_fault_that_was_not_played_is_not_well() -> None:
    verdict = Verdict(devices=[judged()], faults=[Finding("power cut", so=False, evidence="-")])
    assert not verdict.good
    assert any("NOT PLAYED" in line for line in report.lines(verdict))


def test_a_contradicted_chain_is_not_well() -> None:
    found = judged(chain=Chain(12, 1))
    assert (found.proved, found.chain_faults) == (12, 1)
    assert not well(found)


def test_a_check_that_fails_is_not_well() -> None:
    verdict = Verdict(devices=[judged()], checks=[Finding("taps", so=False, evidence="3 tapped, 2 recorded")])
    assert not verdict.good
    assert any(line.startswith("NOT SO") for line in report.lines(verdict))


def test_a_silent_device_is_not_well() -> None:
    assert not well(judged(flash=[], edge=[], office=[]))
    assert not Verdict().good


def test_the_table_names_everything() -> None:
    lines = report.lines(Verdict(devices=[judged()], rejects={"replayed": 3, "bad_crc": 0}, notes=["done"]))
    assert lines[0].split()[:2] == ["device", "minted"]
    assert lines[1].split()[:9] == ["101", "20", "20", "20", "20", "0", "0", "0", "0"]
    assert lines[2].split()[:2] == ["all", "20"]
    assert "frames refused at the edge: replayed 3" in lines
    assert lines[-1] == "done"
