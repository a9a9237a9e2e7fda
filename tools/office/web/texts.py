"""Every word of the pages in both languages; which language a request asks for."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    "title": ("Gatepost 物业值守", "Gatepost office"),
    "sites": ("小区", "Sites"),
    "site": ("小区", "Site"),
    "devices": ("设备", "Devices"),
    "device": ("设备", "Device"),
    "events": ("最新事件", "Latest events"),
    "older_events": ("更早的事件", "Older events"),
    "event": ("事件", "Event"),
    "details": ("内容", "Details"),
    "time": ("时间", "Time"),
    "number": ("编号", "No."),
    "kind": ("事件类型", "Kind"),
    "all_sites": ("全部小区", "All sites"),
    "all_devices": ("全部设备", "All devices"),
    "all_kinds": ("全部类型", "All kinds"),
    "alarms": ("仅报警", "Alarms only"),
    "filter": ("筛选", "Show"),
    "clear": ("清除", "Clear"),
    "older": ("更早 →", "Older →"),
    "newest": ("← 最新", "← Latest"),
    "contact": ("最近联系", "Last contact"),
    "battery": ("电池", "Battery"),
    "firmware": ("固件", "Firmware"),
    "records": ("记录", "Records"),
    "chain": ("防篡改", "Chain"),
    "complete": ("{} 完整", "{} complete"),
    "nothing": ("尚无记录", "nothing yet"),
    "missing": ("缺 {}", "missing {}"),
    "lost": ("设备申报丢失 {}", "declared lost by the device: {}"),
    "conflicts": ("{} 条记录内容前后不符", "{} records came again with another content"),
    "verified": ("校验至 {}", "verified to {}"),
    "first_said": ("最初记为 {}", "first said: {}"),
    "not_verified": ("尚未校验", "not verified yet"),
    "no_key": ("无校验密钥", "no key to check with"),
    "misfit": ("校验不符 {}", "does not fit: {}"),
    "unproven": ("无法校验 {}", "can't be proven: {}"),
    "double": ("编号重复 {}", "number used twice: {}"),
    "suspect": ("校验不符", "chain does not fit"),
    "ago": ("{}前", "{} ago"),
    "just_now": ("刚刚", "just now"),
    "never": ("从未", "never"),
    "tag": ("巡更棒", "Patrol tag"),
    "barrier": ("道闸", "Barrier"),
    "edge": ("边缘代理", "Edge agent"),
    "other": ("设备", "Device"),
    "all_good": ("全部完整", "All complete"),
    "look_at": ("{} 台设备需要查看", "{} devices need a look"),
    "look_at_one": ("1 台设备需要查看", "1 device needs a look"),
    "no_devices": ("还没有设备上传记录。", "No device has sent anything yet."),
    "no_events": ("没有符合条件的事件。", "No events to show."),
    "updated": ("更新于 {}，每 15 秒自动刷新", "As of {}, renewed every 15 seconds"),
    "as_of": ("更新于 {}", "As of {}"),
    "other_language": ("English", "中文"),
    "api": ("接口说明", "API"),
    "zone": ("时间为 UTC{}", "Times are UTC{}"),
    "login": ("登录", "Sign in"),
    "login_text": ("请输入查看口令。", "Enter the viewer token."),
    "login_wrong": ("口令不正确。", "That token is not right."),
    "not_found": ("没有这个页面。", "There is no such page."),
    "wrong_request": ("地址有误：{}", "The address is wrong: {}"),
    "store_error": ("数据库暂时无法读取，请稍后再试。", "The database can't be read at the moment; try again shortly."),
    "back": ("返回首页", "Back to the start"),
    "min": ("{} 分钟", "{} min"),
    "hour": ("{} 小时", "{} h"),
    "day": ("{} 天", "{} d"),
    "docs_text": (
        "机器可读的说明见 openapi.json。时间均为 1970 年以来的毫秒数（UTC）。",
        "The machine-readable description is openapi.json. Times are milliseconds since 1970 (UTC).",
    ),
    "parameters": ("参数", "Parameters"),
    "answers": ("返回", "Answers"),
}
LANGUAGE_COOKIE = "lang"


class Words:
    """The texts in one language."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.tag = "zh-CN" if language == "zh" else "en"
        self._column = 0 if language == "zh" else 1

    def __call__(self, name: str, *values: object) -> str:
        """One text, with its blanks filled in."""
        return TEXTS[name][self._column].format(*values)


def language_of(query: str | None, cookie: str | None, accept: str) -> str:
    """zh or en: the address says it, else the last choice, else the browser, else Chinese."""
    for wish in (query, cookie):
        if wish is not None and wish.lower()[:2] in ("zh", "en"):
            return wish.lower()[:2]
    best, choice = 0.0, "zh"
    for part in accept[:200].split(","):
        name, _, weight = part.partition(";q=")
        try:
            value = float(weight) if weight else 1.0
        except ValueError:
            continue
        if name.strip().lower()[:2] in ("zh", "en") and value > best:
            best, choice = value, name.strip().lower()[:2]
    return choice
