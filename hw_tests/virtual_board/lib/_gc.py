# Layer: `gc` whose collect() collects at once, as on a board; see collect.mjs.
from gc import *

import _vb
from gc import collect as _due


def collect():
    before = mem_free()
    _due()
    _vb.collect()
    return max(0, mem_free() - before)
