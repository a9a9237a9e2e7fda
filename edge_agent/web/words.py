"""Layer: figures in plain words, in Chinese and English; pure."""

from __future__ import annotations

MOST_DAYS = 3_650


def span(ms: int) -> dict[str, str]:
    """A duration: the two largest units that matter."""
    seconds = max(ms, 0) // 1000
    days, hours, minutes = seconds // 86_400, seconds % 86_400 // 3_600, seconds % 3_600 // 60
    if days:
        return {"zh": f"{days} 天 {hours} 小时", "en": f"{days} d {hours} h"}
    if hours:
        return {"zh": f"{hours} 小时 {minutes} 分", "en": f"{hours} h {minutes} min"}
    if minutes:
        return {"zh": f"{minutes} 分 {seconds % 60} 秒", "en": f"{minutes} min {seconds % 60} s"}
    return {"zh": f"{seconds} 秒", "en": f"{seconds} s"}


def size(count: int) -> str:
    """Bytes as GB, MB or KB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count / 1e3:,.0f} KB"


def room(free_bytes: int, days: int | None) -> dict[str, str]:
    """What the disk still takes: in days where the rate is known."""
    if days is None:
        return {"zh": f"磁盘还有 {size(free_bytes)} 可用", "en": f"{size(free_bytes)} of disk free"}
    if days > MOST_DAYS:
        return {"zh": "磁盘还可存 10 年以上", "en": "disk holds more than 10 years"}
    more = "day" if days == 1 else "days"
    return {"zh": f"磁盘还可存 {days:,} 天", "en": f"disk holds {days:,} more {more}"}


def backlog(
    events: int, alarms: int, oldest_age_ms: int | None, free_bytes: int, days: int | None
) -> dict[str, str]:
    """What waits for the office, and how much more may."""
    left = room(free_bytes, days)
    if events + alarms == 0:
        return {"zh": f"没有待上传的事件，{left['zh']}", "en": f"nothing waits, {left['en']}"}
    age = span(oldest_age_ms or 0)
    of_them_zh = f"（其中报警 {alarms:,} 条）" if alarms else ""
    of_them_en = f" ({alarms:,} of them alarms)" if alarms else ""
    noun = "event waits" if events + alarms == 1 else "events wait"
    return {
        "zh": f"{events + alarms:,} 条事件待上传{of_them_zh}，最早一条已等 {age['zh']}，{left['zh']}",
        "en": f"{events + alarms:,} {noun}{of_them_en}, oldest {age['en']}, {left['en']}",
    }


def contact(age_ms: int | None, online: bool) -> dict[str, str]:
    """When a device was last heard."""
    if age_ms is None:
        return {"zh": "从未联系", "en": "never heard"}
    age = span(age_ms)
    if online:
        return {"zh": f"在线，{age['zh']}前联系", "en": f"online, heard {age['en']} ago"}
    return {"zh": f"离线，{age['zh']}前联系", "en": f"offline, heard {age['en']} ago"}


def dock(state: str, name: str, to_go: int, problem: str) -> dict[str, str]:
    """What a dock is at; state as in docking.py."""
    noun = "event" if to_go == 1 else "events"
    return {
        "empty": {"zh": "空", "en": "empty"},
        "waiting": {"zh": "已接入，还没有收到设备信号", "en": "plugged in, nothing heard yet"},
        "stranger": {"zh": f"设备 {name} 未登记，不读取", "en": f"device {name} is not known here, not read"},
        "syncing": {"zh": f"{name}：正在读取，还有 {to_go:,} 条", "en": f"{name}: syncing, {to_go:,} {noun} to go"},
        "released": {"zh": f"{name}：已读完，可以取走", "en": f"{name}: done, take it"},
        "problem": {"zh": f"无法使用：{problem}", "en": f"can't be used: {problem}"},
    }[state]
