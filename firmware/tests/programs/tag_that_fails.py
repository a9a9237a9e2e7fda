# The patrol tag as it is flashed, with three bugs in what happens to a card: one card raises, one makes the program
# spin for ever, one fills the memory.
import boot
import machine

from patrol_tag.tag import Tag

BREAKS = bytes((8, 0, 0, 1))
HANGS = bytes((8, 0, 0, 2))
FILLS = bytes((8, 0, 0, 3))
whole = Tag.on_card


def on_card(self, uid, now_ms):
    if uid == BREAKS:
        raise ValueError("bug")
    while uid == HANGS:
        machine.Pin(0).value()
    if uid == FILLS:
        raise MemoryError
    whole(self, uid, now_ms)


Tag.on_card = on_card
boot.run("patrol_tag.main")
