# Runs suites of plain test functions where there is no pytest: run_suites.py SUITE... (module names). Exit
# code 1 when one fails. A suite never seen to run is no pass: no tests found is a failure.
import sys


def run(name):
    module = __import__(name, None, None, ("*",))
    tests = sorted([found for found in dir(module) if found.startswith("test_")])
    failed = 0 if tests else 1
    for test in tests:
        try:
            getattr(module, test)()
        except Exception as error:  # noqa: BLE001  # whatever a test raises, the next one still runs
            failed += 1
            print("FAILED", name, test)
            sys.print_exception(error)
    print(name, len(tests), "tests,", failed, "failed")
    return failed


def main():
    failed = 0
    for name in sys.argv[1:]:
        failed += run(name)
    sys.exit(1 if failed or len(sys.argv) < 2 else 0)


main()
