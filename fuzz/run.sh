#!/usr/bin/env bash
# Fuzzes what others send: `fuzz/run.sh [TARGET|all] [SECONDS]`, each target for that many seconds (10), then stops.
# Needs the stable Rust of the project and g++, nothing else. Fails at the first crash, and says where the input is.
#
# cargo-fuzz asks for nightly only because of its address sanitizer, which code without `unsafe` can do without: coverage comes
# from an LLVM pass that stable rustc runs too. `--target` keeps the flags away from build scripts and macros.
set -euo pipefail
cd "$(dirname "$0")"

wanted=${1:-all}
seconds=${2:-10}
targets=$(cd fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//')
if [ "$wanted" != all ]; then
    grep -qx -- "$wanted" <<< "$targets" || { printf 'no target %s; there are:\n%s\n' "$wanted" "$targets" >&2; exit 2; }
    targets=$wanted
fi

folder=${CARGO_TARGET_DIR:-$PWD/../target}/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
coverage=(
    --cfg fuzzing
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
)
bins=()
for target in $targets; do bins+=(--bin "$target"); done
CARGO_TARGET_DIR=$folder RUSTFLAGS="${coverage[*]}" \
    cargo build --locked --release --target "$triple" "${bins[@]}"

for target in $targets; do
    # What was found before is where the next run begins; the committed seeds are only read.
    corpus=$folder/corpus/$target
    crashes=$folder/artifacts/$target
    mkdir -p "$corpus" "$crashes"
    printf '\n--- %s: %s s\n' "$target" "$seconds"
    log=$folder/$target.log
    if ! timeout --kill-after=5 $((seconds + 60)) "$folder/$triple/release/$target" \
        -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=1024 -close_fd_mask=1 \
        -artifact_prefix="$crashes/" "$corpus" "seeds/$target" > "$log" 2>&1; then
        tail -n 60 "$log" >&2
        printf 'target %s failed; its input is the newest file in %s\n' "$target" "$crashes" >&2
        exit 1
    fi
    grep -E 'INITED|^Done ' "$log"
    # Blind, it would pass for ever.
    grep -q 'inline 8-bit counters' "$log" || { printf 'target %s has no coverage\n' "$target" >&2; exit 1; }
done
