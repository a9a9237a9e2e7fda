"""Layer: every sentence and remedy in both languages; pure. {} are the finding's values, in their order."""

from __future__ import annotations

from tools.doctor.finding import Finding, Level

LEVELS = {
    Level.OK: ("正常", "ok"),
    Level.WARNING: ("注意", "warning"),
    Level.FAULT: ("故障", "FAULT"),
}
VERDICTS = {
    Level.OK: ("一切正常", "all well"),
    Level.WARNING: ("可以运行，但有需要注意的地方", "it works, but something needs looking at"),
    Level.FAULT: ("有故障，需要处理", "something is broken"),
}
# key: (sentence zh, sentence en)
SENTENCES: dict[str, tuple[str, str]] = {
    "config": ("配置无误：{}", "the configuration is right: {}"),
    "config_wrong": ("配置有误：{}", "the configuration is wrong: {}"),
    "sqlite": ("SQLite {}", "SQLite {}"),
    "sqlite_old": (
        "SQLite {} 太旧，会丢失已提交的记录，至少要 {}",
        "SQLite {} is too old and can lose commits; {} is needed",
    ),
    "python": ("Python {}，{}", "Python {} on {}"),
    "python_old": ("Python {} 太旧，至少要 {}", "Python {} is too old, {} is needed"),
    "bits_32": ("Python {} 是 32 位的（{}）", "Python {} is a 32-bit one ({})"),
    "memory": ("可用内存 {} MB", "{} MB of memory available"),
    "memory_low": ("可用内存只剩 {} MB", "only {} MB of memory available"),
    "power": ("供电正常", "the power supply holds"),
    "power_low": ("供电电压不足", "the supply voltage is too low"),
    "power_was_low": ("开机以来出现过电压不足", "the supply voltage was too low since the start"),
    "power_hot": ("处理器过热，已降频", "the processor is or was too hot and slowed down"),
    "disk": ("{} 位于 {}", "{} is on {}"),
    "disk_memory": ("{} 位于 {}，断电后记录会全部丢失", "{} is on {}: events would be gone with the power"),
    "disk_kind": ("{} 位于 {}，不适合存放记录", "{} is on {}, which can't hold a store safely"),
    "disk_read_only": ("{} 所在的磁盘是只读的", "the disk of {} is read-only"),
    "disk_unsafe": (
        "{} 所在磁盘的挂载选项 {} 会在断电时丢数据",
        "the disk of {} is mounted with {}: a power cut loses what was synced",
    ),
    "disk_no_wal": ("{} 不支持 WAL（得到 {}）", "{} does not support WAL (got {})"),
    "room": ("磁盘剩余 {} GB", "{} GB of disk free"),
    "room_little": ("磁盘只剩 {} GB（{}）", "only {} GB of disk free ({})"),
    "room_none": (
        "磁盘几乎已满，只剩 {} GB（{}）：新记录将无法保存",
        "the disk is all but full, {} GB free ({}): events will not be taken",
    ),
    "disk_speed": ("写盘 {} 毫秒，最慢 {} 毫秒", "a write is on the disk in {} ms, {} ms at most"),
    "disk_slow": ("写盘很慢：{} 毫秒，最慢 {} 毫秒", "the disk is slow: {} ms a write, {} ms at most"),
    "disk_fails": ("{} 写不进去：{}", "{} can't be written: {}"),
    "disk_not_tried": ("{} 还不存在，未测写盘速度", "{} is not there yet: its speed was not measured"),
    "card": ("存储卡寿命已用约 {}%", "about {} % of the card's life is used"),
    "card_worn": ("存储卡寿命已用 {}% 以上", "more than {} % of the card's life is used"),
    "card_worn_out": ("存储卡寿命已尽", "the card is worn out"),
    "clock": ("时钟已同步", "the clock is synchronised"),
    "clock_wrong": ("时钟不对：现在显示 {} 年", "the clock is wrong: it says {}"),
    "clock_not_yet": ("时钟尚未同步（{} 在运行）", "the clock is not synchronised yet ({} runs)"),
    "clock_no_service": ("没有校时服务，时钟未同步", "nothing sets the clock, and it is not synchronised"),
    "clock_stepped": (
        "一天内时钟被拨动 {} 次，最多 {} 秒",
        "the clock was set {} times in the last day, by up to {} s",
    ),
    "chip": ("有硬件时钟", "there is a clock chip"),
    "chip_none": (
        "没有硬件时钟，断网重启后时间未知",
        "no clock chip: after a start without a network the time is not known",
    ),
    "port": ("{} 可用", "{} can be used"),
    "port_missing": ("{} 不存在", "{} is not there"),
    "port_no_device": ("{} 不是设备文件", "{} is no device file"),
    "port_forbidden": ("{} 不允许用户 {} 打开（组 {}）", "{} may not be opened by user {} (group {})"),
    "port_console": ("{} 被系统控制台占用", "{} is the kernel's console"),
    "port_busy": ("{} 被 {} 占用", "{} is in use by {}"),
    "address": ("{} 可以监听", "{} is free"),
    "address_taken": ("{} 无法监听：{}", "{} can't be listened on: {}"),
    "files": ("{} 个密钥文件只有本程序可读", "files with keys: {}, the agent's alone"),
    "own_closed": ("{0} 的属主 {1} 自己也没有权限读它", "{0} is closed even to {1}, whose it is"),
    "not_allowed": ("用户 {1} 无权查看 {0}", "{0} may not be looked at by user {1}"),
    "file_missing": ("缺少文件 {}", "{} is missing"),
    "devices_missing": ("缺少设备文件 {}", "{}, the file of the devices, is missing"),
    "file_unreadable": ("用户 {1} 读不了 {0}", "{} can't be read by user {}"),
    "file_open": ("{} 对其他用户开放（权限 {}）", "{} is open to others (mode {})"),
    "store": (
        "存储完好，版本 {}，{} 条待上传",
        "the store is whole, version {}, {} events wait for the office",
    ),
    "store_none": ("还没有存储，首次启动时建立", "there is no store yet, the first start makes it"),
    "store_damaged": ("存储已损坏：{}", "the store is damaged: {}"),
    "store_unread": ("现在读不了存储：{}", "the store can't be read just now: {}"),
    "store_aside": (
        "有 {} 个被替换下来的存储，占 {} MB：{}",
        "replaced stores that are still kept: {} ({} MB): {}",
    ),
    "store_newer": ("存储版本 {} 比程序（{}）新", "the store is of version {}, this program knows up to {}"),
    "store_wal": ("预写日志有 {} MB", "the write-ahead log has {} MB"),
    "agent": ("代理在运行（进程 {}）", "the agent runs (process {})"),
    "agent_off": ("代理没有运行", "no agent runs"),
    "agent_silent": (
        "代理在运行（进程 {}），但 {} 没有应答：{}",
        "the agent runs (process {}), but {} gives no answer: {}",
    ),
    "agent_says": ("代理报告：{0}", "the agent says: {1}"),
    "office": ("办公室 {} 有应答", "the office at {} answers"),
    "office_plain": (
        "办公室 {} 有应答，但连接未加密",
        "the office at {} answers, but the way there is not encrypted",
    ),
    "office_none": ("没有设置办公室，记录只存在本机", "no office is set: events stay here"),
    "office_name": ("找不到办公室的地址 {}：{}", "the name in {} is not found: {}"),
    "office_connect": ("连不上办公室 {}：{}", "{} takes no connection: {}"),
    "office_tls": ("办公室 {} 的证书不被信任：{}", "the certificate of {} is not trusted: {}"),
    "office_pin": (
        "{} 的证书不是登记时的那一个",
        "{} is not the office of the enrolment: its key is another",
    ),
    "office_answer": ("{} 有应答，但不是办公室服务器：{}", "{} answers, but not as an office does: {}"),
    "clocks": ("与办公室的时钟一致", "the office's clock agrees"),
    "clocks_apart": ("与办公室的时钟相差 {} 秒", "the office's clock is {} s away"),
}
REMEDIES: dict[str, tuple[str, str]] = {
    "config_wrong": ("按提示改好后再试", "put right what it names"),
    "sqlite_old": (
        "重新安装 gatepost 软件包，或 pip install -U apsw",
        "install the gatepost package again, or: pip install -U apsw",
    ),
    "python_old": ("安装新版 Raspberry Pi OS 上的软件包", "install the package on a newer Raspberry Pi OS"),
    "bits_32": (
        "改用 64 位的 Raspberry Pi OS：软件包只有 64 位的",
        "use the 64-bit Raspberry Pi OS: the package is for that",
    ),
    "memory_low": (
        "停掉其他程序，或换内存更大的机器",
        "stop other programs, or take a machine with more memory",
    ),
    "power_low": (
        "换用 5.1 V、至少 3 A 的电源和短粗的线",
        "use a supply of 5.1 V and at least 3 A with a short, thick cable",
    ),
    "power_was_low": (
        "换用 5.1 V、至少 3 A 的电源和短粗的线",
        "use a supply of 5.1 V and at least 3 A with a short, thick cable",
    ),
    "power_hot": ("加装散热片，或移到通风处", "add a heat sink, or move it where air gets to it"),
    "disk_memory": (
        "把 data_dir 放到真正的磁盘上，或在 raspi-config 里关掉 Overlay File System",
        "put data_dir on a real disk, or turn the overlay file system off in raspi-config",
    ),
    "disk_kind": ("把 data_dir 放到 ext4 分区上", "put data_dir on an ext4 partition"),
    "disk_read_only": (
        "检查存储卡（写保护或已损坏），再 sudo mount -o remount,rw",
        "check the card (locked or failing), then: sudo mount -o remount,rw",
    ),
    "disk_unsafe": ("从 /etc/fstab 里去掉这个选项并重启", "take the option out of /etc/fstab and restart"),
    "disk_no_wal": ("把 data_dir 放到 ext4 分区上", "put data_dir on an ext4 partition"),
    "room_little": (
        "清理磁盘：sudo journalctl --vacuum-size=100M；sudo apt clean",
        "make room: sudo journalctl --vacuum-size=100M, sudo apt clean",
    ),
    "room_none": (
        "立即清理磁盘：sudo journalctl --vacuum-size=50M；sudo apt clean",
        "make room now: sudo journalctl --vacuum-size=50M, sudo apt clean",
    ),
    "disk_slow": ("换一张工业级（A2）存储卡或 USB 固态盘", "take an industrial (A2) card or a USB SSD"),
    "disk_fails": (
        "检查文件夹的属主和磁盘是否已满或损坏：dmesg",
        "check the folder's owner, and whether the disk is full or failing: dmesg",
    ),
    "disk_not_tried": (
        "先启动一次：sudo systemctl start gatepost-edge",
        "start it once: sudo systemctl start gatepost-edge",
    ),
    "card_worn": (
        "尽快备份（gatepost edge backup）并更换存储卡",
        "take a backup (gatepost edge backup) and change the card soon",
    ),
    "card_worn_out": (
        "立即备份（gatepost edge backup）并更换存储卡",
        "take a backup (gatepost edge backup) and change the card now",
    ),
    "clock_wrong": (
        "接上网络等它校时，或 sudo date -s '2026-12-01 08:00'",
        "connect a network and wait, or: sudo date -s '2026-12-01 08:00'",
    ),
    "clock_not_yet": (
        "检查网络，并用 timedatectl timesync-status 查看",
        "check the network; see timedatectl timesync-status",
    ),
    "clock_no_service": (
        "sudo apt install systemd-timesyncd && sudo timedatectl set-ntp true",
        "sudo apt install systemd-timesyncd && sudo timedatectl set-ntp true",
    ),
    "clock_stepped": (
        "装一个 DS3231 时钟模块，并检查校时服务：timedatectl timesync-status",
        "fit a DS3231 module, and look at what sets the clock: timedatectl timesync-status",
    ),
    "agent_silent": (
        "看日志：journalctl -u gatepost-edge，再 sudo systemctl restart gatepost-edge",
        "see journalctl -u gatepost-edge, then sudo systemctl restart gatepost-edge",
    ),
    "chip_none": (
        "装一个 DS3231 时钟模块（dtoverlay=i2c-rtc,ds3231）",
        "fit a DS3231 module (dtoverlay=i2c-rtc,ds3231)",
    ),
    "port_missing": (
        "检查线缆和供电；用 ls /dev/serial/by-id 查看现有端口",
        "check cable and power; ls /dev/serial/by-id shows what is there",
    ),
    "port_no_device": (
        "把 [[port]] path 改成 /dev/serial/by-id/ 下的设备",
        "set [[port]] path to a device below /dev/serial/by-id/",
    ),
    "port_forbidden": (
        "sudo usermod -aG {2} {1}，再重启代理",
        "sudo usermod -aG {2} {1}, then restart the agent",
    ),
    "port_console": (
        "sudo raspi-config → Interface Options → Serial Port：关闭登录控制台",
        "sudo raspi-config, Interface Options, Serial Port: no login shell",
    ),
    "port_busy": ("停掉 {1}，再重启代理", "stop {1}, then restart the agent"),
    "address_taken": (
        "换一个端口，或停掉占用它的程序：sudo ss -lntup",
        "choose another port, or stop who has it: sudo ss -lntup",
    ),
    "own_closed": ("sudo chmod u+rX {0}", "sudo chmod u+rX {0}"),
    "not_allowed": (
        "以代理的权限查看：sudo gatepost doctor --config {2}",
        "look with the agent's rights: sudo gatepost doctor --config {2}",
    ),
    "file_missing": (
        "补上该文件，或从 edge.toml 里去掉它：edge.example.toml 说明每一项的用途",
        "write it, or take it out of edge.toml: edge.example.toml says what each is for",
    ),
    "devices_missing": (
        "用 gatepost provision … 登记第一台设备时会写出该文件",
        "gatepost provision … makes it, with the first device",
    ),
    "file_unreadable": ("sudo chown {1} {0}", "sudo chown {1} {0}"),
    "file_open": ("sudo chmod 600 {0}", "sudo chmod 600 {0}"),
    "store_damaged": (
        "停掉代理，用 gatepost edge restore 恢复最近的备份",
        "stop the agent and put the last backup back: gatepost edge restore",
    ),
    "store_unread": (
        "稍后再试；sudo fuser -v 查看谁占用 data_dir 里的 edge.sqlite，dmesg 查看磁盘是否损坏",
        "try again; see who has edge.sqlite in data_dir (sudo fuser -v), and whether the disk fails (dmesg)",
    ),
    "store_aside": (
        "确认代理运行正常、办公室收齐记录后删除：sudo rm -r，后面写上该文件夹",
        "once the agent works well and the office has every event of them: sudo rm -r, then the folder",
    ),
    "store_newer": (
        "装回新版本，或用 gatepost-rollback 回到旧版本",
        "install the newer program again, or go back with gatepost-rollback",
    ),
    "store_wal": (
        "重启代理：sudo systemctl restart gatepost-edge",
        "restart the agent: sudo systemctl restart gatepost-edge",
    ),
    "agent_off": (
        "sudo systemctl start gatepost-edge，再看 journalctl -u gatepost-edge",
        "sudo systemctl start gatepost-edge, then see journalctl -u gatepost-edge",
    ),
    "office_plain": (
        "改用 https，并用 gatepost edge enrol 登记",
        "use https, and enrol this edge: gatepost edge enrol",
    ),
    "office_none": (
        "向办公室要一个登记码，再运行 gatepost edge enrol",
        "ask the office for a code, then: gatepost edge enrol",
    ),
    "office_name": (
        "检查网络和 DNS（ping 一个网址），以及地址是否写对",
        "check network and DNS (ping a name), and whether the address is right",
    ),
    "office_connect": (
        "检查网络、防火墙，以及办公室服务器是否在运行",
        "check network and firewall, and whether the office's server runs",
    ),
    "office_tls": (
        "检查 ca_file 和本机时间，或用 gatepost edge enrol 登记",
        "check ca_file and this machine's time, or enrol this edge: gatepost edge enrol",
    ),
    "office_pin": (
        "问办公室是否换了证书；确认后用新的登记码重新登记",
        "ask the office whether it changed its key; if so, enrol again with a new code",
    ),
    "office_answer": ("检查 url 是否指向办公室服务器", "check whether url is the office's"),
    "clocks_apart": (
        "先校准本机时间（timedatectl），再检查办公室的时间",
        "set this machine's clock (timedatectl), then look at the office's",
    ),
}
_LOOK_INTO_THE_LOG = (
    "运行 gatepost verify --edge edge.toml，并查明谁动过本机",
    "gatepost verify --edge edge.toml; find out who was at this machine",
)
_ENROL_AGAIN = (
    "向办公室要一个新的登记码，再运行 gatepost edge enrol",
    "ask the office for a new code, then: gatepost edge enrol",
)
_OFFLINE = (
    "检查设备的电源、线缆和信号（巡更棒：是否已放回）",
    "check its power, cable and signal (a tag: was it put back?)",
)
# What to do about what the agent says itself, by the names of its texts (edge_agent/web/texts.py).
CONCERNS: dict[str, tuple[str, str]] = {
    "store_stalled": REMEDIES["disk_fails"],
    "disk_full": REMEDIES["room_none"],
    "rows_refused": (
        "先升级办公室的软件；仍不接收时，把括号里的原因告诉维护人员",
        "upgrade the office; if it still refuses, tell who maintains it the reason in brackets",
    ),
    "office_away": REMEDIES["office_connect"],
    "denied_not_enrolled": REMEDIES["office_none"],
    "denied_revoked": _ENROL_AGAIN,
    "denied_unknown": _ENROL_AGAIN,
    "denied_other_office": REMEDIES["office_pin"],
    "alarms_wait": (
        "在状态页上查看这些报警；先恢复与办公室的连接",
        "look at them on the status page, and mend the way to the office first",
    ),
    "log_forked": _LOOK_INTO_THE_LOG,
    "log_shrunken": _LOOK_INTO_THE_LOG,
    "log_restarted": (
        "若确实有人做过恢复，无需处理；否则查明原因",
        "nothing, if somebody did restore it; else find out why",
    ),
    "log_forged": _LOOK_INTO_THE_LOG,
    "log_other_key": _ENROL_AGAIN,
    "log_office_lost": (
        "问办公室是否恢复了旧备份；不要删除本机的记录",
        "ask the office whether it put an old backup back; delete nothing here",
    ),
    "guessing": (
        "在日志里查看来源（journalctl -u gatepost-edge），并更换口令",
        "see in the log who it was (journalctl -u gatepost-edge), and change the tokens",
    ),
    "device_offline": _OFFLINE,
    "devices_offline": _OFFLINE,
    "port_down": REMEDIES["port_missing"],
    "dock_problem": (
        "重新插好坞站；状态页的端口一栏写明原因",
        "plug the dock in again; the status page says at its port what is wrong",
    ),
    "battery_low": ("给设备充电或更换电池", "charge the device or change its battery"),
    "held_raw": (
        "检查设备固件的版本，必要时升级本机的 gatepost 软件包",
        "look at the device's firmware, and upgrade gatepost here if it is the older one",
    ),
}


def sentence(found: Finding, language: str) -> str:
    """What was found; language "zh" or "en"."""
    return _plain(SENTENCES[found.key][language == "en"].format(*found.values))


def remedy(found: Finding, language: str) -> str:
    """What to do about it, "" for nothing."""
    if found.level == Level.OK:
        return ""
    known = CONCERNS[str(found.values[2])] if found.key == "agent_says" else REMEDIES[found.key]
    return _plain(known[language == "en"].format(*found.values))


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:600]
