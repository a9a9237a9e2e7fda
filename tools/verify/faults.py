"""Faults and what was found right, with their words in Chinese and English. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

LANGUAGES = ("zh", "en")
FINE, FAULTS, UNABLE = 0, 1, 2  # exit codes
MAX_FAULTS = 10_000  # that are named; whoever changes everything is named by these
VERDICTS = {FINE: "fine", FAULTS: "faults", UNABLE: "unable"}

# code: (Chinese, English); the places in braces are fields of Fault, or what they say together: see Fault.words().
WORDS: dict[str, tuple[str, str]] = {
    # events of the office
    "event_changed": ("事件内容被改动", "events were changed"),
    "event_times_changed": ("事件的时间被改动", "times of events were changed"),
    "event_dropped": ("事件被删除", "events were taken out"),
    "event_inserted": ("事件并非来自任何边缘代理的日志行", "events that came in no row of any edge's log"),
    "kind_changed": ("事件类型列与内容不符", "the column of the kind is not that of the content"),
    "best_changed": ("显示的时间与所陈述的不符", "the times that are shown are not those that were stated"),
    # rows of a log
    "row_changed": ("日志行被改动", "rows of the log were changed"),
    "row_dropped": ("已签名的日志行缺失", "signed rows of the log are gone"),
    "row_gap": ("边缘代理自己声明没有这些行", "the edge itself states that it has no such rows"),
    "row_again": ("同一行号有不同内容", "rows stand there with two contents"),
    "row_unlike": (
        "这些行与签名不符：有行被改动、删除、插入或调换",
        "these rows do not give what was signed: some were changed, taken out, put in or exchanged",
    ),
    "log_dropped": ("边缘代理的日志条目被删除", "the entry of an edge's log was taken out"),
    # heads
    "head_forged": ("签名无效", "a head's signature is not genuine"),
    "head_key": ("签名密钥不是此边缘代理的", "a head is signed by a key that is not this edge's"),
    "key_inserted": ("边缘代理的密钥多于一个", "more than one key was put in for this edge"),
    "head_dropped": ("缺少签名编号", "heads are gone, by number"),
    "head_forked": ("签名之间互相矛盾：历史被改写", "heads contradict each other: history was rewritten"),
    "head_shrunken": ("日志变短：恢复了旧备份", "the log became shorter: an old backup was restored"),
    "head_restarted": ("日志跳号续写：已从备份恢复", "the log goes on elsewhere: restored from a backup"),
    "head_unknown": ("边缘代理持有办公室没有的签名", "the office has lost heads that it had acknowledged to the edge"),
    # the devices' chains
    "chain_misfit": ("设备校验链不符", "the device's chain does not fit"),
    "double": ("同一编号出现在两次启动中", "a number stands under two boots"),
    "conflict": ("同一事件又以不同内容到达", "an event came again with another content"),
    # what the office keeps beside
    "conflict_inserted": ("证据表中有来历不明的内容", "evidence of a conflict that came in no row"),
    "proof_dropped": ("校验值被删除", "a chain value was taken out"),
    "proof_inserted": ("校验值来历不明", "a chain value that came in no row"),
    "loss_dropped": ("设备申报的丢失被删除", "a declared loss was taken out"),
    "loss_inserted": ("申报丢失来历不明", "a declared loss that came in no row"),
    "restated_dropped": ("后来的时间陈述被删除", "a later statement of times was taken out"),
    "restated_inserted": ("时间陈述来历不明", "a statement of times that came in no row"),
    "span_changed": ("完整性记录与事件不符", "what is said to be complete is not what is there"),
    "verdict_changed": ("已存的校验结论不成立", "the stored verdict of the chain does not hold"),
    "finding_dropped": ("已发现的矛盾被删除", "a finding was taken out"),
    "column_changed": ("列中有不该有的值", "a column holds what it can't hold"),
    "device_dropped": ("设备条目被删除", "the device's entry was taken out"),
    "site_dropped": ("小区条目被删除", "the entry of a site was taken out"),
    # the edge's store
    "leaf_changed": ("树中的散列与日志行不符", "the tree's hash is not that of the row"),
    "node_changed": ("树的节点不符", "a node of the tree does not fit"),
    "tree_changed": ("树的状态不符", "the state of the tree does not fit its leaves"),
    "priority_changed": ("行的优先级与内容不符", "the row's priority is not that of its events"),
    "cursor_changed": ("投递位置越过了不存在的行", "delivery is said to have reached rows that do not exist"),
    "count_changed": ("日志中的事件数与账目不符", "the log does not hold as many events as it should"),
    "items_changed": ("行的内容无法读取", "the row's events can't be read"),
    # a proof file
    "proof_file": ("证明文件不成立", "the proof does not hold"),
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One thing that does not fit, and where: events by device and number, rows by position, heads by number."""

    code: str
    site: str = ""
    edge: str = ""
    device: int | None = None
    boot: int | None = None
    first: int | None = None
    last: int | None = None
    pos: int | None = None
    last_pos: int | None = None
    head: int | None = None
    last_head: int | None = None
    detail: str = ""

    def words(self, language: str) -> str:
        """One line."""
        zh = language == "zh"
        parts: list[str] = []
        if self.site:
            parts.append(f"{'小区' if zh else 'site'} {self.site}")
        if self.edge:
            parts.append(f"{'边缘代理' if zh else 'edge'} {self.edge}")
        if self.device is not None:
            parts.append(f"{'设备' if zh else 'device'} {self.device}")
        if self.boot is not None:
            parts.append(f"{'启动' if zh else 'boot'} {self.boot}")
        if self.first is not None:
            parts.append(f"{'编号' if zh else 'seq'} {_range(self.first, self.last)}")
        if self.pos is not None:
            parts.append(f"{'日志行' if zh else 'row'} {_range(self.pos, self.last_pos)}")
        if self.head is not None:
            parts.append(f"{'签名' if zh else 'head'} {_range(self.head, self.last_head)}")
        text = WORDS[self.code][0 if zh else 1]
        detail = f" ({self.detail})" if self.detail else ""
        return ("，" if zh else ", ").join(parts) + ("：" if zh else ": ") + text + detail

    def as_json(self) -> dict[str, Any]:
        """For machines: what is known of the place, and the words."""
        found = {name: value for name, value in asdict(self).items() if value not in (None, "")}
        return {**found, "zh": self.words("zh"), "en": self.words("en")}


@dataclass
class Report:
    """What was checked, what is wrong and what can't be told; unable: nothing could be checked, and why."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    unable: tuple[str, str] | None = None
    rows: int = 0
    events: int = 0
    unnamed: int = 0  # faults beyond MAX_FAULTS: counted, not kept
    _known: set[Fault] = field(default_factory=set)

    def fault(self, code: str, **where: Any) -> None:
        """One more fault, once."""
        self.keep(Fault(code, **where))

    def keep(self, found: Fault) -> None:
        """As fault()."""
        if found in self._known:
            return
        if len(self.faults) >= MAX_FAULTS:
            self.unnamed += 1
            return
        self._known.add(found)
        self.faults.append(found)

    def line(self, zh: str, en: str) -> None:
        """Something that was checked, with its verdict."""
        self.lines.append((zh, en))

    def note(self, zh: str, en: str) -> None:
        """Something that can't be told, or need not be wrong."""
        self.notes.append((zh, en))

    @property
    def exit_code(self) -> int:
        """0 fine, 1 faults, 2 nothing could be checked."""
        return UNABLE if self.unable else FAULTS if self.faults else FINE

    def text(self, language: str) -> str:
        """All of it, for people."""
        at = 0 if language == "zh" else 1
        if self.unable:
            return ("无法校验：" if at == 0 else "can't be checked: ") + self.unable[at]
        out = [line[at] for line in self.lines]
        out += [("注意：" if at == 0 else "note: ") + note[at] for note in self.notes]
        out += [("✗ " + fault.words(language)) for fault in self.faults]
        if self.faults:
            count = len(self.faults) + self.unnamed
            out.append(f"发现 {count:,} 处不符" if at == 0 else f"{count:,} fault{'s' * (count > 1)} found")
        else:
            out.append("全部相符" if at == 0 else "all of it fits")
        return "\n".join(out)

    def as_json(self) -> dict[str, Any]:
        """All of it, for machines."""
        return {
            "v": 1,
            "verdict": VERDICTS[self.exit_code],
            "rows": self.rows,
            "events": self.events,
            "checked": [{"zh": zh, "en": en} for zh, en in self.lines],
            "notes": [{"zh": zh, "en": en} for zh, en in self.notes],
            "faults": [fault.as_json() for fault in self.faults],
            "unnamed": self.unnamed,
            "unable": None if self.unable is None else {"zh": self.unable[0], "en": self.unable[1]},
        }


def ranges(numbers: list[int]) -> list[tuple[int, int]]:
    """Sorted numbers as first..last."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _range(first: int, last: int | None) -> str:
    return f"{first:,}" if last is None or last == first else f"{first:,}..{last:,}"
