# Reads the vectors, on CPython and on MicroPython.
import json
from binascii import unhexlify

_FOLDER = __file__.replace("\\", "/").rsplit("/", 2)[0] + "/vectors/"


# name: "valid/cbor" and the like -> the whole file
def load(name):
    with open(_FOLDER + name + ".json") as file:  # noqa: PTH123  # MicroPython has no pathlib
        return json.loads(file.read())


# -> the vectors of the file
def rows(name):
    return load(name)["vectors"]


# {"h": hex} -> bytes, {"map": pairs} -> dict, lists throughout
def value(found):
    if isinstance(found, list):
        return [value(item) for item in found]
    if isinstance(found, dict):
        if "h" in found:
            return unhexlify(found["h"])
        return {value(key): value(item) for key, item in found["map"]}
    return found


# What call(*args) raises: (name of the error's class, reason); None when it raises no GatelinkError.
def refusal(call, *args):
    from gatelink.errors import GatelinkError

    try:
        call(*args)
    except GatelinkError as error:
        return type(error).__name__, error.reason
    return None
