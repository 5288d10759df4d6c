#!/usr/bin/env bash
# Verifies the units on copies that point at the built binary given, and that the daemon's exposure score stays at 1.1 or less.
set -euo pipefail
binary=$(realpath "${1:?usage: systemd/check.sh BINARY}")
cd "$(dirname "$0")"
copies=$(mktemp -d)
trap 'rm -rf "$copies"' EXIT

for unit in *.service *.socket *.timer; do
    sed "s#/usr/local/bin/ringhookd#$binary#g" "$unit" > "$copies/$unit"
done
for unit in *.service *.socket *.timer; do
    # Unknown keys and unknown values are warnings with status 0, so any output fails.
    complaints=$(systemd-analyze verify "$copies/$unit" 2>&1) || { printf '%s\n' "$complaints"; exit 1; }
    [ -z "$complaints" ] || { printf '%s\n' "$complaints"; exit 1; }
done
# The threshold is ten times the score.
report=$(systemd-analyze security --offline=true --threshold=11 "$copies/ringhookd.service") || { printf '%s\n' "$report"; exit 1; }
tail -n 1 <<< "$report"
