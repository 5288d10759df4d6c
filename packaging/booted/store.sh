#!/usr/bin/env bash
# Backup, compaction and restore on a booted machine; machine.sh runs it after secrets.sh.
source "$(dirname "$0")/tools.sh"

key=$(cat /shared/key)
unit=systemd/README.md
ledger=/shared/ledger

step "a backup while webhooks come"
load "$ledger"
before=$(wc -l < "$ledger")
documented $unit backup
systemctl is-enabled ringhookd-backup.timer
unload "$ledger"
each_was_answered
[ "$(stat -c '%a %U' /var/backups/ringhookd)" = "700 root" ] || fail "who may read the backups"
backup=$(find /var/backups/ringhookd -name '*.backup')
[ "$(stat -c '%a %U' "$backup")" = "600 root" ] || fail "who may read a backup: $(stat -c '%a %U' "$backup")"
cp "$backup" /shared/backup

step "compact it"
ringhookd compact

step "restore it"
documented $unit move-away
fails systemctl --quiet is-active ringhookd
mv "$backup" /var/backups/ringhookd/2026-01-02-033000.backup
documented $unit restore
[ "$(stat -c '%a %U' /var/lib/private/ringhookd)" = "700 ringhookd" ] || fail "the mode of the store's folder"
# The first lines of the ledger were acknowledged before it began.
head -n "$before" "$ledger" > /shared/before
holds_once load /shared/before
systemctl --failed --no-legend | grep . && fail "a unit has failed"
true
