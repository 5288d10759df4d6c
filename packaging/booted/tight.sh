#!/usr/bin/env bash
# The drop-in that tightens the unit, on a booted machine: it does all that it did before; machine.sh runs it after day.sh.
source "$(dirname "$0")/tools.sh"

key=$(cat /shared/key)
unit=systemd/README.md

step "tighten it"
said=$(documented $unit tighten)
says "$said" "for ringhookd.service: 0.9"
await "a webhook is taken" taken "$key"
ringhookd status
await "systemd is told how it stands" is_well
documented $unit reload
ringhookd backup "$folder/backup"
ringhookd compact
rm -r /etc/systemd/system/ringhookd.service.d/tight.conf /var/lib/ringhookd-root
systemctl daemon-reload
systemctl restart ringhookd
