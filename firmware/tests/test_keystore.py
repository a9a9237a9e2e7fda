# Keys and counters fail closed and never repeat. Plain functions: they also run on the real VM.
from firmware.tests.nor import Nvs, PowerCut
from node.errors import NotProvisioned
from node.keystore import KeyStore

GOOD = {"dev": -2, "link": bytes(range(32)), "event": bytes(range(1, 33)), "epoch": 3, "boot": 0}


def nvs(**other):
    values = dict(GOOD)
    values.update(other)
    return Nvs(**{key: value for key, value in values.items() if value is not None})


def refuses(store):
    try:
        KeyStore(store)
    except NotProvisioned:
        return True
    return False


def test_reads_what_was_provisioned():
    keys = KeyStore(nvs())
    assert keys.device == 0xFFFFFFFE
    assert keys.epoch == 3
    assert keys.event_key == bytes(range(1, 33))
    assert keys.keys.device == 0xFFFFFFFE


def test_fails_closed():
    assert refuses(Nvs())
    for key in GOOD:
        assert refuses(nvs(**{key: None})), key
    for key in ("link", "event"):
        for bad in (b"", bytes(31), bytes(33), bytes(32), b"\xff" * 32):
            assert refuses(nvs(**{key: bad})), key


def test_boot_is_committed_before_it_is_used():
    store = nvs()
    for expected in (1, 2, 3):
        assert KeyStore(store).next_boot() == expected
        store = store.reopen()
    assert store.values["boot"] == 3


def test_no_boot_number_comes_twice_however_power_fails():
    store = nvs()
    seen = set()
    for step in range(200):
        store.cut = (None, "before", "after", None)[step % 4]
        try:
            boot = KeyStore(store).next_boot()
        except PowerCut:
            boot = None
        if boot is not None:
            assert boot not in seen
            seen.add(boot)
        store = store.reopen()
    assert len(seen) == 100


def test_boot_numbers_end():
    keys = KeyStore(nvs(boot=0xFFFFFE))
    assert keys.next_boot() == 0xFFFFFF
    try:
        keys.next_boot()
    except NotProvisioned:
        return
    raise AssertionError("began again")


def test_partial_ivs_rise_and_take_a_boot_of_their_own():
    store = nvs(boot=4)
    keys = KeyStore(store)
    # nobody asked for a boot: the first frame takes one
    last = keys.next_piv()
    assert last == 5 << 16
    for _ in range(0x10000 + 5):
        piv = keys.next_piv()
        assert piv > last
        last = piv
    assert last >> 16 == 6
    assert store.reopen().values["boot"] == 6


def test_marks():
    store = nvs()
    keys = KeyStore(store)
    assert (keys.get_acked(), keys.get_seqmin()) == (0, 0)
    keys.store(0xFFFFFFF0, 0x80000000)
    keys = KeyStore(store.reopen())
    assert (keys.get_acked(), keys.get_seqmin()) == (0xFFFFFFF0, 0x80000000)
