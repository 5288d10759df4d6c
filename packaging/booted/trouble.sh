#!/usr/bin/env bash
# Reloads, restarts and faults on a booted machine: nothing acknowledged is lost, and no connection refused; machine.sh runs it after day.sh.
source "$(dirname "$0")/tools.sh"

key=$(cat /shared/key)
config=/etc/ringhookd/config.toml
unit=systemd/README.md
ledger=$folder/ledger
restarts_passed() { [ "$(property NRestarts)" -gt "$1" ]; }
is_up_after() { # RESTARTS
    await "systemd starts it again" restarts_passed "$1"
    await "it is up again" systemctl is-active ringhookd
}

step "it is up after a boot"
systemctl is-active ringhookd ringhookd.socket ringhookd-admin.socket
await "it says how it stands" is_well

step "a reload brings a queue into force"
cat >> $config <<'END'

[[queue]]
name = "load"
kind = "embedded"
types = ["motion_detected"]
unclaimed = "deliver"
END
cp $config /shared/config.toml
documented $unit reload
ringhookd queue list --json | jq -e 'select(.name == "load")' > /dev/null || fail "the queue is not there"
load "$ledger"
unload "$ledger"
holds_once load "$ledger"

step "a reload of a bad file is refused"
cp $config "$folder/good.toml"
sed -i '1i nonsense = 1' $config
fails documented $unit reload
says "$(property StatusText)" "nonsense"
said=$(ringhookd status) && fail "this is not well: $said"
says "$said" "configuration_refused"
said=$(journalctl -u ringhookd -p warning --no-pager)
says "$said" "nonsense"
fails grep -F "ready for webhooks" <<< "$said"
await "a webhook is taken" taken "$key"
ringhookd queue list --json | jq -e 'select(.name == "load")' > /dev/null || fail "the former queue is not there"
cp "$folder/good.toml" $config
documented $unit reload
await "it is well again" is_well

step "restarts under load refuse and lose nothing"
load "$ledger"
for _ in 1 2 3; do systemctl restart ringhookd; done
unload "$ledger"
each_was_answered
holds_once load "$ledger"

step "a kill -9 under load refuses and loses nothing"
load "$ledger"
before=$(property NRestarts)
kill -KILL "$(property MainPID)"
is_up_after "$before"
unload "$ledger"
jq -e 'has("refused") | not' <<< "$counts" > /dev/null || fail "connections were refused"
holds_once load "$ledger"

step "the watchdog restarts a daemon that stands still"
mkdir -p /run/systemd/system/ringhookd.service.d
printf '[Service]\nWatchdogSec=5\n' > /run/systemd/system/ringhookd.service.d/soon.conf
systemctl daemon-reload
systemctl restart ringhookd
before=$(property NRestarts)
pid=$(property MainPID)
[ "$pid" -gt 0 ] || fail "it does not run"
kill -STOP "$pid"
is_up_after "$before"
says "$(journalctl -u ringhookd --no-pager)" "Watchdog timeout"
rm /run/systemd/system/ringhookd.service.d/soon.conf
systemctl daemon-reload
systemctl restart ringhookd

step "stop it for longer, and start it"
documented $unit stop
await "it is well again" is_well
await "a webhook is taken" taken "$key"
