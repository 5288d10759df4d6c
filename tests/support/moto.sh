#!/bin/sh
# Makes target/moto, a virtual environment of Python with moto's server, which stands for Amazon SQS in tests.
set -eu
cd "$(dirname "$0")/../.."
if cmp -s tests/support/moto.txt target/moto/made; then
    exit 0
fi
rm -rf target/moto
mkdir -p target
python3 -m venv target/moto || {
    echo "Debian's package python3-venv makes virtual environments: install it" >&2
    exit 1
}
target/moto/bin/pip install --quiet --disable-pip-version-check --requirement tests/support/moto.txt
cp tests/support/moto.txt target/moto/made
