#!/bin/sh
# Makes this clone ready: Python environment, Node, the MicroPython VM, and (level "test") what the checks need.
# Usage: tools/setup/setup.sh run|test     Quick when nothing changed; safe to run again after any interruption.
set -eu

level=${1:-test}
root=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
venv=$root/.venv
lock=tools/setup/lock
board=hw_tests/virtual_board

say() { printf 'setup: %s\n' "$*"; }
stop() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Runs a command as root where that needs no password; fails otherwise.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then sudo -n "$@"
    else return 1
    fi
}

apt_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    as_root true || return 1
    say "installing with apt-get: $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 && return 0
    as_root apt-get update -qq >/dev/null 2>&1 || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# A stamp holds the checksum of what it was made from, so a changed lock file is noticed and an aborted step repeated.
made_from() { cat "$@" 2>/dev/null | cksum | tr ' ' '-'; }
fresh() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

find_python() {
    for candidate in python3.11 python3 python3.12 python3.13; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    stop "Python 3.11 or newer is needed; on Debian 12: apt-get install python3 python3-venv"
}

make_venv() {
    if [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then return 0; fi
    python=$(find_python)
    rm -rf "$venv"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        apt_install python3-venv ||
            stop "this Python cannot make environments; as root: apt-get install python3-venv, then run make again"
    fi
    say "making .venv with $("$python" --version)"
    "$python" -m venv "$venv"
}

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

install_python_packages() {
    # "test" contains everything of "run" in the same versions.
    want=$(made_from pyproject.toml "$lock/build.txt" "$lock/$1.txt")-$root
    if fresh "$venv/.stamp-$1" "$want"; then return 0; fi
    say "installing Python packages ($1), pinned by hash"
    pip install -q --require-hashes -r "$lock/build.txt"
    pip install -q --require-hashes -r "$lock/$1.txt"
    pip install -q --no-deps --no-build-isolation -e . 2>"$venv/editable.log" || { cat "$venv/editable.log" >&2; exit 1; }
    rm -rf ./*.egg-info
    printf '%s' "$want" >"$venv/.stamp-$1"
}

node_is_new_enough() {
    command -v "$1" >/dev/null 2>&1 || return 1
    "$1" -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null
}

install_node() {
    if [ -x "$venv/bin/node" ] && node_is_new_enough "$venv/bin/node"; then return 0; fi
    if node_is_new_enough node && command -v npm >/dev/null 2>&1; then return 0; fi
    say "no Node 20 here: taking it from PyPI"
    pip install -q --require-hashes -r "$lock/node.txt"
    node_is_new_enough "$venv/bin/node" || stop "Node does not start on this machine; install Node 20 or newer"
}

install_vm() {
    [ -f "$board/package-lock.json" ] || return 0
    want=$(made_from "$board/package-lock.json")
    if fresh "$board/node_modules/.stamp" "$want"; then return 0; fi
    say "installing the MicroPython VM for the virtual board"
    (cd "$board" && PATH="$venv/bin:$PATH" npm ci --no-audit --no-fund --loglevel=error)
    printf '%s' "$want" >"$board/node_modules/.stamp"
}

# The board's stubs would hide CPython's own library from the host's type check, so they live apart.
install_stubs() {
    want=$(made_from "$lock/stubs.txt")
    if fresh build/stubs/.stamp "$want"; then return 0; fi
    say "installing the type stubs of the ESP32 port"
    rm -rf build/stubs
    mkdir -p build
    pip install -q --require-hashes --no-deps --target build/stubs -r "$lock/stubs.txt"
    printf '%s' "$want" >build/stubs/.stamp
}

install_system_tools() {
    missing=
    command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
    command -v chromedriver >/dev/null 2>&1 || missing="$missing chromium-driver"
    command -v strace >/dev/null 2>&1 || missing="$missing strace"
    command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
    command -v systemd-nspawn >/dev/null 2>&1 || missing="$missing systemd-container"
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086
    apt_install $missing || say "NOT INSTALLED (needs root):$missing; checks that need them will say so"
}

case $level in
    run | test) ;;
    *) stop "unknown level '$level'; use run or test" ;;
esac
make_venv
if [ "$level" = test ]; then install_python_packages dev; else
    # A clone that has the larger set needs nothing more.
    fresh "$venv/.stamp-dev" "$(made_from pyproject.toml "$lock/build.txt" "$lock/dev.txt")-$root" || install_python_packages run
fi
install_node
install_vm
if [ "$level" = test ]; then
    install_stubs
    install_system_tools
fi
