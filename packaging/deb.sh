#!/usr/bin/env bash
# Makes the Debian package of a release binary: packaging/deb.sh BINARY FOLDER [VERSION]
#
# It is put together by dpkg-deb alone. Everything in it is a file of this repository, or comes out of the binary (manual pages and
# completions), so that a package never says other than its program.
set -euo pipefail
usage="usage: packaging/deb.sh BINARY FOLDER [VERSION]"
binary=$(realpath "${1:?$usage}")
mkdir -p "${2:?$usage}"
folder=$(realpath "$2")
cd "$(dirname "$0")/.."
version=${3:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
arch=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"

put() { # MODE TARGET-FOLDER FILE...
    install -d -m 0755 "$root/$2"
    install -m "$1" "${@:3}" "$root/$2/"
}

put 0755 usr/bin "$binary"
[ "$(basename "$binary")" = ringhookd ] || { echo "the binary is not called ringhookd: $binary" >&2; exit 1; }
strip --strip-unneeded "$root/usr/bin/ringhookd"
put 0644 etc/ringhookd systemd/config.toml
units=usr/lib/systemd/system
put 0644 $units systemd/*.service systemd/*.socket systemd/*.timer
sed -i 's#/usr/local/bin/ringhookd#/usr/bin/ringhookd#g' "$root/$units"/*

"$binary" manual "$root/usr/share/man/man1" > /dev/null
gzip -9n "$root"/usr/share/man/man1/*.1
chmod 0755 "$root"/usr/share/man/man1 "$root"/usr/share/man
chmod 0644 "$root"/usr/share/man/man1/*
completion() { # SHELL FILE
    install -d -m 0755 "$(dirname "$root/$2")"
    "$binary" completions "$1" > "$root/$2"
    chmod 0644 "$root/$2"
}
completion bash usr/share/bash-completion/completions/ringhookd
completion zsh usr/share/zsh/vendor-completions/_ringhookd
completion fish usr/share/fish/vendor_completions.d/ringhookd.fish

doc=usr/share/doc/ringhookd
put 0644 $doc README.md CHANGELOG.md config.example.toml
put 0644 $doc/docs docs/*.md
put 0644 $doc/systemd systemd/README.md
gzip -9n "$root/$doc/CHANGELOG.md"
mkdir -p "$root/$doc/examples"
cp -r examples/. "$root/$doc/examples/"
find "$root/$doc" -type d -exec chmod 0755 {} +
find "$root/$doc" -type f -exec chmod 0644 {} +
{
    printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n'
    printf 'Upstream-Name: ringhookd\n\nFiles: *\nCopyright: the authors of ringhookd\nLicense: MIT or Apache-2.0\n\n'
    printf 'License: MIT\n'
    sed 's/^$/./; s/^/ /' LICENSE-MIT
    printf '\nLicense: Apache-2.0\n On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.\n'
} > "$root/$doc/copyright"
chmod 0644 "$root/$doc/copyright"

# The newest symbol of the C library that the binary asks for is the oldest library it runs with.
glibc=$(objdump -T "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
install -d -m 0755 "$root/DEBIAN"
sed "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@GLIBC@/${glibc#GLIBC_}/; s/@SIZE@/$(du -sk --exclude=DEBIAN "$root" | cut -f1)/" \
    packaging/debian/control > "$root/DEBIAN/control"
install -m 0644 packaging/debian/conffiles "$root/DEBIAN/"
install -m 0755 packaging/debian/{postinst,prerm,postrm} "$root/DEBIAN/"
(cd "$root" && find . -type f -not -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) > "$root/DEBIAN/md5sums"

file=$folder/ringhookd_${version}_$arch.deb
dpkg-deb --root-owner-group --build "$root" "$file" > /dev/null
printf '%s\n' "$file"
