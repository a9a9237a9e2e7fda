# Codes of FAULT events that hardware and set-up give; 1..9 belong to node.
CONFIG = 10
READER = 11
TRAVEL = 16
LIMITS = 17


# text of any origin -> what a FAULT event holds: 24 bytes of ASCII
def short(text: str) -> str:
    return "".join([char if " " <= char <= "~" else "?" for char in text[:24]])
