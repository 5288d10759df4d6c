#!/usr/bin/env bash
# Has an operator's days with the Debian package on throw-away machines that systemd boots, as root: packaging/booted.sh BINARY
#
# The scripts in booted/ run the documents' blocks that are marked `run: booted as NAME`, as they are written, and see what comes of them.
# Nothing is left when it ends, and a machine that can't be booted is a failure.
set -euo pipefail
binary=$(realpath "${1:?usage: packaging/booted.sh BINARY}")
cd "$(dirname "$0")/.."
root=()
[ "$(id -u)" = 0 ] || root=(sudo)
for taken in /usr/bin/ringhookd /usr/local/bin/ringhookd /etc/ringhookd /var/lib/private/ringhookd; do
    [ ! -e "$taken" ] || { echo "$taken is there already: this machine has a ringhookd" >&2; exit 1; }
done
shared=$(mktemp -d)
booted=
end() {
    local code=$?
    [ -z "$booted" ] || "${root[@]}" kill -KILL "$booted" 2> /dev/null || true
    [ $code = 0 ] || cat "$shared/said" >&2 2> /dev/null || true
    "${root[@]}" rm -rf "$shared"
}
trap end EXIT
trap 'exit 143' TERM INT HUP

clone=$shared/ringhookd
mkdir -p "$clone/target/release" "$shared/newer"
git ls-files -z -- '*.md' systemd packaging examples | xargs -0 cp --parents -t "$clone"
cp "$binary" "$clone/target/release/ringhookd"
packaging/deb.sh "$binary" "$clone/target/deb" 0.0.1 > /dev/null
packaging/deb.sh "$binary" "$shared/newer" 0.0.2 > /dev/null

# The first machine is booted for each script anew, so what was enabled has to come up by itself.
machine() {
    local scripts=("${@/#//shared/ringhookd/packaging/booted/}")
    # Beside this one, so that this one hears of a signal at once.
    "${root[@]}" packaging/booted/machine.sh "$shared" "${scripts[@]/%/.sh}" &
    booted=$!
    wait $booted
    booted=
    grep '^---' "$shared/said"
}
machine day trouble tight ring secrets store upgrade
machine second

# Every block that a document leaves to this script was run.
marked=$(git grep -oP '(?<=<!-- run: booted as ).*(?= -->)' -- '*.md' | tr ':' ' ' | sort)
run=$(sort -u "$shared/blocks")
[ "$marked" = "$run" ] || { diff <(echo "$marked") <(echo "$run") >&2 || true; echo "these blocks were not run" >&2; exit 1; }
echo "the package does under systemd what the documents say"
