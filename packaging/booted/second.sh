#!/usr/bin/env bash
# A second booted machine: installed from the clone, with the master key and a backup of the first; machine.sh runs it.
source "$(dirname "$0")/tools.sh"

key=$(cat /shared/key)
unit=systemd/README.md

refreshes() { [[ $(ringhookd status || true) != *restore_guard* ]]; }

step "install from the clone"
documented $unit clone
documented_asks $unit secrets "$key" made-up-client-secret
systemd-creds encrypt --with-key=host --name=master.key /shared/master.key /etc/credstore.encrypted/ringhookd.master.key
cp /shared/config.toml /etc/ringhookd/config.toml

step "restore"
install -d -m 0700 /var/backups/ringhookd
mv /shared/backup /var/backups/ringhookd/2026-01-02-033000.backup
says "$(documented $unit restore)" "restore_guard"
documented_asks $unit accept y
await "it is no older copy any more" refreshes
[ "$(status_of_webhook "$key")" = 200 ] || fail "it takes no webhook"
holds_once load /shared/before

step "upgrade it in the clone"
documented docs/UPGRADE.md clone
