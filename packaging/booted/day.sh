#!/usr/bin/env bash
# An operator's day on a booted machine, from the package to a changed configuration, by the documents' own commands; machine.sh runs it.
source "$(dirname "$0")/tools.sh"

key=hmac-key-made-up-$RANDOM
printf %s "$key" > /shared/key
config=/etc/ringhookd/config.toml
unit=systemd/README.md

step "install the package"
documented docs/INSTALL.md package
systemctl cat ringhookd > /dev/null || fail "there is no unit"
fails systemctl is-enabled ringhookd
echo "exposure: $(systemd-analyze security --threshold=11 ringhookd.service | tail -n 1)"

step "give it its secrets"
documented_asks $unit secrets "$key" made-up-client-secret
cp $clone/master.key /shared/master.key
sed -i 's/put-here-what-ring-shows/made-up/' $config

step "check before there is a store"
said=$(documented $unit check) && fail "there is no store: $said"
says "$said" "there is no store"

step "make the store, check, and start"
documented $unit init
said=$(documented $unit check) || fail "check complains: $said"
says "$said" "no problem found"
said=$(documented $unit start)
says "$said" "all well"
await "systemctl status says so" is_well
[ "$(property Type) $(property ActiveState)" = "notify active" ] || fail "it is not up"

step "check while it runs"
said=$(documented $unit check) || fail "check complains: $said"
says "$said" "no problem found"

step "its user and its folders"
user=$(property MainPID); user=$(stat -c %U "/proc/$user")
[ "$user" = ringhookd ] || fail "it runs as $user"
fails grep ringhookd /etc/passwd
for state in ringhookd ringhookd-guard; do
    [ "$(stat -c '%a %U' /var/lib/private/$state)" = "700 ringhookd" ] || fail "$state: $(stat -c '%a %U' /var/lib/private/$state)"
done
runuser -u nobody -- true
fails runuser -u nobody -- cat /var/lib/private/ringhookd/store.redb

step "the first webhook"
said=$(documented $unit webhook)
says "$said" "200 OK"
says "$said" "ava1.ring.account.TRY"
