#!/usr/bin/env bash
# Installs, starts, upgrades, removes and purges the Debian package on this machine, as root: packaging/check.sh BINARY
# It refuses a machine that has a ringhookd already.
set -euo pipefail
binary=$(realpath "${1:?usage: packaging/check.sh BINARY}")
cd "$(dirname "$0")/.."
root=()
[ "$(id -u)" = 0 ] || root=(sudo)
for taken in /usr/bin/ringhookd /etc/ringhookd /var/lib/private/ringhookd; do
    [ ! -e "$taken" ] || { echo "$taken is there already: this machine has a ringhookd" >&2; exit 1; }
done
folder=$(mktemp -d)
daemon=
end() {
    [ -z "$daemon" ] || kill "$daemon" 2> /dev/null || true
    "${root[@]}" dpkg --purge ringhookd > /dev/null 2>&1 || true
    rm -rf "$folder"
}
trap end EXIT
fail() { printf 'the package: %s\n' "$*" >&2; exit 1; }

first=$(packaging/deb.sh "$binary" "$folder" 0.0.1)
second=$(packaging/deb.sh "$binary" "$folder" 0.0.2)
dpkg-deb --contents "$first" | awk '{ print $2 }' | sort -u | grep -qx root/root || fail "its files are not root's"
! dpkg-deb --contents "$first" | awk '$1 ~ /^-....w|^-.......w|^d....w|^d.......w/' | grep . || fail "others may write these"

# What stands in configured folders before and after must be the same.
before=$(find /etc /usr/lib/systemd /usr/share/man/man1 -name '*ringhookd*' | sort)
"${root[@]}" dpkg --install "$first" > "$folder/install.log" || { cat "$folder/install.log" >&2; fail "it does not install"; }
grep -q 'next, write /etc/ringhookd/config.toml' "$folder/install.log" || fail "it does not say what to do next"
/usr/bin/ringhookd --version
[ "$(stat -c '%a %U' /etc/ringhookd/config.toml)" = "644 root" ] || fail "the configuration's mode"
# Out of the package, because a small machine may have been told to leave documents out.
dpkg-deb --extract "$first" "$folder/content"
man -l "$folder/content/usr/share/man/man1/ringhookd-queue-read.1.gz" | grep Examples > /dev/null || fail "the manual page"
bash -c 'source "$1" && complete -p ringhookd' bash "$folder/content/usr/share/bash-completion/completions/ringhookd" > /dev/null || fail "completion"
systemd-analyze verify --man=no /usr/lib/systemd/system/ringhookd.service 2>&1 | grep -i ringhookd && fail "its units"

# It starts with the packaged configuration: every mistake in that is one of secrets, which no package has.
for secret in hmac.key master.key client.secret; do
    (umask 077; mkdir -p "$folder/credentials"; openssl rand -hex 32 > "$folder/credentials/$secret")
done
sed "s#/var/lib/ringhookd-guard#$folder/guard#; s#\"/var/lib/ringhookd\"#\"$folder/store\"#; s#/run/ringhookd/admin.sock#$folder/admin.sock#; s#127.0.0.1:8480#127.0.0.1:0#" \
    /etc/ringhookd/config.toml > "$folder/config.toml"
export CREDENTIALS_DIRECTORY=$folder/credentials RINGHOOKD_CONFIG=$folder/config.toml
sed -i 's/put-here-what-ring-shows/made-up/' "$folder/config.toml"
/usr/bin/ringhookd init > /dev/null || fail "init"
start() {
    /usr/bin/ringhookd serve > "$folder/daemon.log" 2>&1 &
    daemon=$!
    for _ in $(seq 600); do
        ! grep -q 'ready for webhooks' "$folder/daemon.log" || return 0
        kill -0 "$daemon" 2> /dev/null || break
        sleep 0.1
    done
    cat "$folder/daemon.log" >&2
    fail "it does not start"
}
start
/usr/bin/ringhookd queue list > /dev/null || fail "it does not answer"

# An upgrade beside a running daemon keeps what the operator wrote.
printf '# written by the operator\n' | "${root[@]}" tee -a /etc/ringhookd/config.toml > /dev/null
"${root[@]}" dpkg --install "$second" > "$folder/upgrade.log" || { cat "$folder/upgrade.log" >&2; fail "it does not upgrade"; }
[ "$(dpkg-query -W -f '${Version}' ringhookd)" = 0.0.2 ] || fail "the version after the upgrade"
! grep -q 'next, write' "$folder/upgrade.log" || fail "an upgrade is no first installation"
grep -q 'written by the operator' /etc/ringhookd/config.toml || fail "the upgrade took the configuration"
kill "$daemon"; wait "$daemon" || fail "it did not end with 0"
start
/usr/bin/ringhookd queue list > /dev/null || fail "it does not answer after the upgrade"
kill "$daemon"; wait "$daemon" || fail "it did not end with 0 after the upgrade"
daemon=

"${root[@]}" dpkg --remove ringhookd > /dev/null || fail "it can't be removed"
[ ! -e /usr/bin/ringhookd ] && [ -e /etc/ringhookd/config.toml ] || fail "removing it keeps the configuration and nothing else"
"${root[@]}" dpkg --purge ringhookd > /dev/null || fail "it can't be purged"
after=$(find /etc /usr/lib/systemd /usr/share/man/man1 -name '*ringhookd*' | sort)
[ "$before" = "$after" ] || fail "purging it leaves: $after"
[ ! -e /usr/share/doc/ringhookd ] || fail "purging it leaves its documents"
echo "the package installs, starts, upgrades, and leaves nothing when it is purged"
