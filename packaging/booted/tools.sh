# What the scripts inside a booted machine share: blocks of the documents, waiting, webhooks.
# shellcheck shell=bash
set -euo pipefail
clone=/shared/ringhookd
here=$clone/packaging/booted
folder=$(mktemp -d)
# What a receiver of webhooks knows: the keys at hand, as Ring has them.
key_file=$folder/key

end() {
    local code=$?
    [ $code != 0 ] || return 0
    journalctl --boot --no-pager --lines 60 || true
    printf -- '--- failed in: %s (exit code %s)\n' "${current:-the beginning}" $code
}
trap end EXIT
step() { current=$*; printf '\n--- %s (%s s after the boot)\n' "$*" $SECONDS; }
fail() { printf '*** %s\n' "$*"; exit 1; }
# Everybody is root in there.
printf '#!/bin/sh\nexec "$@"\n' > /usr/local/bin/sudo
chmod 0755 /usr/local/bin/sudo

# The block of a document that the comment `run: booted as NAME` stands before, to standard output.
block() { # DOCUMENT NAME
    python3 "$here/block.py" "$clone/$1" "$2"
    printf '%s %s\n' "$1" "$2" >> /shared/blocks
}

# Runs a block as its reader does: in the folder of the clone, as written.
documented() { # DOCUMENT NAME
    block "$1" "$2" > "$folder/block.sh"
    (cd $clone && bash -euo pipefail "$folder/block.sh")
}

# The same on a terminal, where the rest is typed, a line each.
documented_asks() { # DOCUMENT NAME ANSWER...
    block "$1" "$2" > "$folder/block.sh"
    printf '%s\n' "${@:3}" | (cd $clone && script --quiet --return --command "bash -euo pipefail $folder/block.sh" /dev/null)
}

# Only a hang meets its bound.
await() { # WORDS COMMAND...
    for _ in $(seq 900); do
        ! "${@:2}" > /dev/null 2>&1 || return 0
        sleep 0.1
    done
    fail "$1: not after 90 s"
}

property() { systemctl show --property "$1" --value ringhookd; }
is_well() { [[ $(systemctl status --no-pager ringhookd) == *'Status: "all well'* ]]; }
says() { printf '%s\n' "$1" | grep -F -- "$2" > /dev/null || fail "this does not say \"$2\": $1"; }
fails() { if "$@"; then fail "this should have failed: $*"; fi; }

# The status that a webhook signed with a key gets.
status_of_webhook() { # KEY
    local body signature
    body='{"meta":{"version":"1.1","request_id":"'$(openssl rand -hex 16)'","account_id":"ava1.ring.account.TRY"},"data":{"id":"try","type":"button_press","attributes":{"source":"front-door"}}}'
    signature=$(printf %s "$body" | openssl dgst -sha256 -hmac "$1" -r | cut -d' ' -f1)
    curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:8480/webhooks/ring -H "X-Signature: sha256=$signature" -d "$body"
}

taken() { [ "$(status_of_webhook "$1")" = 200 ]; } # KEY

load() { # LEDGER
    printf %s "$key" > "$key_file"
    python3 "$here/load.py" "$key_file" "$1" > "$1.counts" &
    loader=$!
    await "the first webhook" test -s "$1"
}
# Ends the load; then `counts` is what it counted, as JSON.
unload() { # LEDGER
    kill $loader
    wait $loader || fail "the load failed"
    counts=$(cat "$1.counts")
    echo "webhooks: $counts"
}
# 503 is an answer: where the machine stands still for seconds, Ring would send again.
each_was_answered() {
    jq -e '.acknowledged > 0 and (del(.acknowledged, ."503") | length == 0)' <<< "$counts" > /dev/null || fail "connections were refused or cut off"
}

# Takes all that waits in a queue; each id of the ledger must be there, once.
holds_once() { # QUEUE LEDGER
    ringhookd queue read "$1" --max 1000000 --json | jq -r 'select(.ringaccount == "ava1.ring.account.LOAD") | .id' | sort > "$folder/read"
    [ -z "$(uniq -d "$folder/read")" ] || fail "queue $1 had some twice"
    sort "$2" > "$folder/kept"
    [ -s "$folder/kept" ] || fail "nothing was acknowledged"
    [ -z "$(comm -23 "$folder/kept" "$folder/read")" ] || fail "queue $1 lost $(comm -23 "$folder/kept" "$folder/read" | wc -l) that were acknowledged"
}
