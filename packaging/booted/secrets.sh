#!/usr/bin/env bash
# Secrets change on a booted machine, and what is delivered with them: Ring's key, a receiver's, the master key; machine.sh runs it after day.sh.
source "$(dirname "$0")/tools.sh"

key=$(cat /shared/key)
other=another-hmac-key-made-up
config=/etc/ringhookd/config.toml
unit=systemd/README.md
seal() { printf %s "$2" | systemd-creds encrypt --with-key=host --name="$1" - "/etc/credstore.encrypted/ringhookd.$1"; }

step "a reload sees the credentials of the start, a restart the new ones"
seal hmac.key "$other"
documented $unit reload
await "the former key is in force" taken "$key"
fails taken "$other"
systemctl restart ringhookd
await "the new key is in force" taken "$other"
fails taken "$key"
seal hmac.key "$key"
systemctl restart ringhookd
await "the key is back" taken "$key"

step "two keys of Ring's, and a receiver with a secret"
documented_asks $unit second-key "$other"
seal program.secret "whsec_$(openssl rand -base64 32)"
systemd-creds decrypt --name=program.secret /etc/credstore.encrypted/ringhookd.program.secret "$folder/program.secret"
echo 'LoadCredentialEncrypted=program.secret:/etc/credstore.encrypted/ringhookd.program.secret' >> /etc/systemd/system/ringhookd.service.d/secrets.conf
systemctl daemon-reload
sed -i 's/^hmac_key_files = .*/hmac_key_files = ["credential:hmac.key", "credential:hmac.key.new"]/' $config
cat >> $config <<'END'

[[queue]]
name = "program"
kind = "http"
url = "http://127.0.0.1:8471/ring"
secret_files = ["credential:program.secret"]
unclaimed = "deliver"
types = ["button_press"]
END
systemd-run --quiet --unit=receiver --setenv=PATH="$PATH" python3 $clone/examples/receiver/receiver.py 8471 "$folder/program.secret"
said=$(documented $unit reload 2>&1) && fail "there are no such credentials before a restart"
says "$(ringhookd status || true)" "hmac.key.new"
documented $unit check
systemctl restart ringhookd
await "the former key is taken" taken "$key"
await "the new key is taken" taken "$other"
delivered() { ringhookd queue list --json | jq -e 'select(.name == "program") | .waiting == 0 and .leased == 0'; }
await "the receiver has them all" delivered
journalctl -u receiver --no-pager | grep button_press > /dev/null || fail "the receiver saw nothing"

step "another master key"
ledger=$folder/ledger
load "$ledger"
documented $unit new-master-key
unload "$ledger"
each_was_answered
cp $clone/new-master.key /shared/master.key
documented $unit old-master-key
ringhookd keys show
holds_once load "$ledger"
fails systemctl --quiet is-failed ringhookd
