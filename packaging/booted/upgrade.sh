#!/usr/bin/env bash
# Upgrades the package under load on a booted machine, goes back, removes and purges it; machine.sh runs it after day.sh.
source "$(dirname "$0")/tools.sh"

key=$(cat /shared/key)
ledger=$folder/ledger
version() { dpkg-query -W -f '${Version}' ringhookd; }

step "a group of readers"
sed -i '/^# \[\[socket\]\]/,/^# calls/ s/^# //' /etc/ringhookd/config.toml
documented systemd/README.md readers
usermod -aG ringhookd-readers nobody
as_reader() { runuser -u nobody -- ringhookd "$1" --socket "/run/ringhookd/$2.sock"; }
# 3: it is not well, because so many events of one account were held that some are dead letters.
code=0
as_reader status read || code=$?
[ $code = 0 ] || [ $code = 3 ] || fail "a reader can't read"
fails as_reader status admin
fails as_reader compact read

step "upgrade under load"
before=$(property MainPID)
load "$ledger"
mkdir -p /shared/older
mv $clone/target/deb/* /shared/older/
mv /shared/newer/*.deb $clone/target/deb/
documented docs/INSTALL.md package
[ "$(version)" = 0.0.2 ] || fail "it is of version $(version)"
[ "$(property MainPID)" != "$before" ] || fail "the old daemon goes on"
unload "$ledger"
each_was_answered
holds_once load "$ledger"
systemctl --quiet is-active ringhookd || fail "it is not up"

step "go back"
rm $clone/target/deb/*
mv /shared/older/*.deb $clone/target/deb/
documented_asks docs/UPGRADE.md back y
[ "$(version)" = 0.0.1 ] || fail "it is of version $(version)"
await "a webhook is taken" taken "$key"

step "remove, and purge"
documented_asks docs/INSTALL.md remove y
for left in ringhookd.service ringhookd.socket ringhookd-admin.socket ringhookd-read.socket ringhookd-backup.timer; do
    fails systemctl --quiet is-active $left
done
find /etc/systemd/system -type l -name '*ringhookd*' | grep . && fail "links are left"
[ -e /var/lib/private/ringhookd/store.redb ] || fail "the store is gone"
[ -e /etc/ringhookd/config.toml ] || fail "the configuration is gone"
said=$(documented_asks docs/INSTALL.md purge y)
says "$said" "/var/lib/private/ringhookd is left"
says "$said" "/var/backups/ringhookd is left"
says "$said" "/etc/credstore.encrypted/ringhookd.hmac.key is left"
[ ! -e /etc/ringhookd ] || fail "the configuration is left"
