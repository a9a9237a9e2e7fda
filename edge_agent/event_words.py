"""Events in words, in Chinese and English. Pure; the texts are plain and are escaped where they are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edge_agent import own_events
from gatelink import cbor, events
from gatelink.errors import GatelinkError

LANGUAGES = ("zh", "en")
Cards = Callable[[bytes], str]
MAX_TEXT = 160

KINDS: dict[int, tuple[str, str]] = {
    events.HEARTBEAT: ("心跳", "Heartbeat"),
    events.BOOT: ("启动", "Start"),
    events.REFUSED: ("存储将满，未记录", "Not recorded, memory full"),
    events.FAULT: ("故障", "Fault"),
    events.BATTERY: ("电池", "Battery"),
    events.JOURNAL_FILL: ("存储占用", "Memory in use"),
    events.JOURNAL_LOSS: ("记录损坏", "Records damaged"),
    events.TIME: ("设备时钟", "Device's own clock"),
    events.VISIT: ("到达巡更点", "Checkpoint visited"),
    events.SHIFT_START: ("上岗", "Shift begins"),
    events.SHIFT_END: ("下岗", "Shift ends"),
    events.INCIDENT: ("巡查发现", "Finding"),
    events.SOS: ("紧急求助", "SOS"),
    events.UNKNOWN_CARD: ("未知卡", "Unknown card"),
    events.BARRIER: ("道闸", "Barrier"),
    events.ACCESS: ("通行", "Access"),
    events.FORCED: ("道闸被强行打开", "Barrier forced"),
    events.OBSTRUCTED: ("道闸受阻", "Barrier obstructed"),
    events.LOOP_FAULT: ("地感故障", "Loop fault"),
    # the edge's own, recorded under its own device number
    own_events.STOPPED: ("边缘代理停止", "Edge agent stopped"),
    own_events.SEQ_RESTARTED: ("设备重新编号", "Device numbers anew"),
    own_events.PORT: ("端口", "Port"),
    own_events.DEVICE: ("设备在线状态", "Device reachability"),
    own_events.HELD_RAW: ("无法识别的消息", "Unreadable message"),
    own_events.NEVER_SEEN: ("记录已不在设备上", "No longer on the device"),
    own_events.QUEUE: ("接收队列", "Intake queue"),
    own_events.CLOCK_STEP: ("边缘时钟被调整", "Edge clock was set"),
    own_events.STORE: ("边缘存储故障", "Edge store failed"),
    own_events.DISK: ("磁盘空间", "Disk space"),
    own_events.ROTATED: ("链路密钥已更换", "Link key changed"),
    own_events.REVOKED: ("设备密钥已吊销", "Device revoked"),
    own_events.WRONG_TRIES: ("口令多次输错", "Wrong secrets tried"),
    own_events.DOCKED: ("巡更棒已读完", "Tag read out"),
    own_events.BUS_JAMMED: ("总线被占用，设备失联", "Bus jammed, devices unheard"),
    own_events.BUS_QUIET: ("总线恢复", "Bus quiet again"),
}
STATES = (
    ("已关闭", "closed"), ("开启中", "opening"), ("已开启", "open"), ("关闭中", "closing"), ("停止", "stopped"),
    ("故障", "fault"),
)  # fmt: skip
CAUSES = (
    ("上电", "power on"), ("刷卡", "credential"), ("远程指令", "command"), ("自动关闭", "auto-close"), ("地感", "loop"),
    ("按钮", "button"), ("到位", "limit reached"), ("超时", "time-out"), ("外力", "by force"),
)  # fmt: skip
ROOM = (("已满，记录保留在设备上", "full, events stay with their devices"), ("恢复", "has room again"))
LEVELS = (("正常", "ok"), ("偏低", "low"), ("严重不足", "critical"))
DECISIONS = (("拒绝", "denied"), ("放行", "granted"))
DIRECTIONS = (("进", "in"), ("出", "out"))
REASONS: dict[int, tuple[str, str]] = {
    1: ("不在名单", "not on the list"), 2: ("黑名单", "blacklisted"), 3: ("未到时间", "not valid yet"),
    4: ("已过期", "expired"), 5: ("设备不知时间", "device has no time"),
    16: ("业主", "resident"), 17: ("访客", "visitor"), 18: ("送货", "delivery"), 19: ("施工", "contractor"),
}  # fmt: skip
RESETS: dict[int, tuple[str, str]] = {
    1: ("上电", "power on"), 2: ("复位", "reset"), 3: ("看门狗", "watchdog"), 4: ("唤醒", "woken"),
    5: ("软复位", "soft reset"),
}  # fmt: skip
STARTS: dict[int, tuple[str, str]] = {
    1: ("非正常中断后", "after a crash or power cut"), 2: ("从备份恢复后", "restored from a backup"),
}  # fmt: skip
ALARMS = tuple(kind for kind in KINDS if events.class_of(kind) == events.ALARM)


def kind_name(kind: int, language: str) -> str:
    """What people call the kind."""
    known = KINDS.get(kind)
    return (
        _pick(known, language) if known else f"{'未知事件' if language == 'zh' else 'Unknown event'} {kind}"
    )


def masked(uid: bytes) -> str:
    """A card without a name: only its last digits, since numbers of residents' cards are personal data."""
    return "…" + uid.hex()[-4:]


def fields_of(payload: bytes) -> list[Any] | None:
    """The fields after the kind as far as this version can read them, else None."""
    try:
        return events.decode(payload)[1:]
    except GatelinkError:
        pass  # a younger kind, or one of the edge's own
    try:
        value = cbor.loads(payload)
    except GatelinkError:
        return None
    return value[1:] if isinstance(value, list) else None


def describe(kind: int, payload: bytes, language: str, card: Cards) -> str:
    """What the event tells beyond its kind, one line, maybe empty. card: a card's name or masked number."""
    fields = fields_of(payload)
    writer = _WRITERS.get(kind)
    if fields is not None and writer is not None:
        try:
            return _plain(writer(language == "zh", fields, card)[:MAX_TEXT])
        except (IndexError, TypeError, ValueError, AttributeError):
            pass  # not the shape of this kind: shown as it came
    return "" if fields == [] else payload.hex()


def _pick(pair: tuple[str, str], language: str) -> str:
    return pair[0] if language == "zh" else pair[1]


def _name(zh: bool, table: dict[int, tuple[str, str]] | tuple[tuple[str, str], ...], value: int) -> str:
    pair = table.get(value) if isinstance(table, dict) else table[value] if 0 <= value < len(table) else None
    return pair[0 if zh else 1] if pair else str(value)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text)


def _volt(millivolt: int) -> str:
    return f"{millivolt / 1000:.2f} V"


def _heartbeat(zh: bool, fields: list[Any], _: Cards) -> str:
    return "" if fields[0] is None else f"{'电池' if zh else 'battery'} {_volt(fields[0])}"


def _boot(zh: bool, fields: list[Any], _: Cards) -> str:
    version = fields[1]
    if version.startswith("edge"):
        cause = _name(zh, STARTS, fields[0]) if fields[0] else ""
    else:
        cause = _name(zh, RESETS, fields[0])
    parts = [cause, version] if cause else [version]
    return ("，" if zh else ", ").join(parts)


def _refused(zh: bool, fields: list[Any], _: Cards) -> str:
    routine, normal, alarm = (f"{number:,}" for number in fields)
    if zh:
        return f"例行 {routine}，普通 {normal}，报警 {alarm}"
    return f"routine {routine}, normal {normal}, alarm {alarm}"


def _fault(zh: bool, fields: list[Any], _: Cards) -> str:
    return f"{'代码' if zh else 'code'} {fields[0]:d}: {fields[1]}"


def _battery(zh: bool, fields: list[Any], _: Cards) -> str:
    return f"{_volt(fields[0])}{'，' if zh else ', '}{_name(zh, LEVELS, fields[1])}"


def _range(zh: bool, fields: list[Any], _: Cards) -> str:
    return f"{'编号' if zh else 'numbers'} {fields[-2]:,}..{fields[-1]:,}"


def _card(_zh: bool, fields: list[Any], card: Cards) -> str:
    return card(fields[0])


def _near(zh: bool, uid: bytes | None, card: Cards) -> str:
    if uid is None:
        return "尚无巡更点" if zh else "no checkpoint yet"
    return f"{'最近巡更点' if zh else 'last checkpoint'}: {card(uid)}"


def _incident(zh: bool, fields: list[Any], card: Cards) -> str:
    return f"{card(fields[0])} · {_near(zh, fields[1], card)}"


def _sos(zh: bool, fields: list[Any], card: Cards) -> str:
    return _near(zh, fields[0], card)


def _barrier(zh: bool, fields: list[Any], _: Cards) -> str:
    state, cause, cycles = fields
    if zh:
        return f"{_name(zh, STATES, state)}，原因：{_name(zh, CAUSES, cause)}，累计 {cycles:,} 次"
    return f"{_name(zh, STATES, state)}, cause: {_name(zh, CAUSES, cause)}, {cycles:,} cycles"


def _access(zh: bool, fields: list[Any], card: Cards) -> str:
    credential, decision, reason, direction = fields
    parts = [_name(zh, DIRECTIONS, direction), _name(zh, DECISIONS, decision), _name(zh, REASONS, reason)]
    return " · ".join([*parts, card(credential)])


def _forced(zh: bool, fields: list[Any], _: Cards) -> str:
    return f"{'位置' if zh else 'position'} {fields[0]:d} %" if fields else ""


def _loop(zh: bool, fields: list[Any], _: Cards) -> str:
    return f"{'地感' if zh else 'loop'} {fields[0]:d}"


def _percent(_zh: bool, fields: list[Any], _: Cards) -> str:
    return f"{fields[0]:d} %"


def _port(zh: bool, fields: list[Any], _: Cards) -> str:
    return f"{fields[0]}: {_name(zh, (('断开', 'lost'), ('恢复', 'back')), fields[1])}"


def _reach(zh: bool, fields: list[Any], _: Cards) -> str:
    return f"{_device(zh, fields)} {_name(zh, (('离线', 'offline'), ('在线', 'online')), fields[1])}"


def _device(zh: bool, fields: list[Any], _: Cards | None = None) -> str:
    return f"{'设备' if zh else 'device'} {fields[0]:d}"


def _gone(zh: bool, fields: list[Any], card: Cards) -> str:
    return f"{_device(zh, fields)}: {_range(zh, fields, card)}"


def _epoch(zh: bool, fields: list[Any], _: Cards) -> str:
    return f"{_device(zh, fields)}{'，第' if zh else ', epoch'} {fields[1]:d}{' 代' if zh else ''}"


def _queue(zh: bool, fields: list[Any], _: Cards) -> str:
    return _name(zh, (("已满", "full"), ("恢复", "flowing")), fields[0])


def _disk(zh: bool, fields: list[Any], _: Cards) -> str:
    state = _name(zh, ROOM, fields[0])
    return f"{state}{'，剩余' if zh else ', free:'} {fields[1]:,} MiB"


def _failures(zh: bool, fields: list[Any], _: Cards) -> str:
    return f"失败 {fields[0]:,} 次" if zh else f"{fields[0]:,} failures"


def _tries(zh: bool, fields: list[Any], _: Cards) -> str:
    return f"来自 {fields[0]}，{fields[1]:,} 次" if zh else f"from {fields[0]}, {fields[1]:,} times"


def _named(_zh: bool, fields: list[Any], _: Cards) -> str:
    return str(fields[0])


def _docked(zh: bool, fields: list[Any], _: Cards) -> str:
    taken = f"新增 {fields[2]:,} 条" if zh else f"{fields[2]:,} new events"
    return f"{_device(zh, fields)}{'，坞站' if zh else ', dock'} {fields[1]}{'，' if zh else ', '}{taken}"


def _error(_zh: bool, fields: list[Any], _: Cards) -> str:
    return f"±{fields[1] / 1000:.1f} s"


def _step(zh: bool, fields: list[Any], _: Cards) -> str:
    unknown = "" if fields[1] else ("，时间未知" if zh else ", time not known now")
    return f"{fields[0] / 1000:+,.1f} s{unknown}"


_WRITERS: dict[int, Callable[[bool, list[Any], Cards], str]] = {
    events.HEARTBEAT: _heartbeat, events.BOOT: _boot, events.REFUSED: _refused, events.FAULT: _fault,
    events.BATTERY: _battery, events.JOURNAL_FILL: _percent, events.JOURNAL_LOSS: _range, events.TIME: _error,
    events.VISIT: _card,
    events.SHIFT_START: _card, events.SHIFT_END: _card, events.INCIDENT: _incident, events.SOS: _sos,
    events.UNKNOWN_CARD: _card, events.BARRIER: _barrier, events.ACCESS: _access, events.FORCED: _forced,
    events.OBSTRUCTED: _loop, events.LOOP_FAULT: _loop,
    own_events.SEQ_RESTARTED: _device, own_events.PORT: _port, own_events.DEVICE: _reach,
    own_events.HELD_RAW: _device, own_events.NEVER_SEEN: _gone, own_events.QUEUE: _queue,
    own_events.CLOCK_STEP: _step, own_events.STORE: _failures, own_events.ROTATED: _epoch, own_events.REVOKED: _device,
    own_events.WRONG_TRIES: _tries, own_events.DOCKED: _docked,
    own_events.BUS_JAMMED: _named, own_events.BUS_QUIET: _named, own_events.DISK: _disk,
}  # fmt: skip


def is_alarm(kind: int) -> bool:
    """Whether somebody has to look at once."""
    return events.class_of(kind) == events.ALARM
