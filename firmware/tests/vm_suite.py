# Runs the test_* functions of the modules named on the command line, on MicroPython or CPython; the first
# that fails ends it with its traceback.
import sys

for module_name in sys.argv[1:]:
    module = __import__(module_name, None, None, ("x",))
    for key in sorted(dir(module)):
        if key.startswith("test_"):
            print("run", key)
            getattr(module, key)()
            print("ok", key)
