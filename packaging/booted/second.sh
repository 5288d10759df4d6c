#!/usr/bin/env bash
# A second booted machine: installed from the clone, with the master key and a backup of the first; machine.sh runs it.
source "$(dirname "$0")/tools.sh"

key=$(cat /shared/key)
unit=systemd/README.md

refreshes() { [[ $(ringhookd status || true) != *restore_guard* ]]; }

step "install from the clone"
documented $unit clone
documented_asks $unit secrets "$key" made-up-client-secret
cp /shared/master.key $clone/master.key
documented $unit kept-key
cp /shared/config.toml /etc/ringhookd/config.toml

step "restore"
install -d -m 0700 /var/backups/ringhookd
mv /shared/backup /var/backups/ringhookd/2026-01-02-033000.backup
says "$(documented $unit restore)" "restore_guard"
documented_asks $unit accept y
await "it is no older copy any more" refreshes
await "a webhook is taken" taken "$key"
holds_once load /shared/before

step "upgrade it in the clone"
documented docs/UPGRADE.md clone
