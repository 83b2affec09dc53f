#!/bin/sh
# Lays out the root of an image in which a program runs: the program as /usr/bin, stripped, the shared libraries that it
# asks for where it asks for them, what these are (SBOM, as SPDX), the authorities that prove who others are, an account that
# is nobody, and folders for the cache and models. With SOURCE_DATE_EPOCH all of it is of that time: the same program on the same system is the same tree.
# usage: image_tree.sh PROGRAM SBOM ROOT        ROOT must not exist yet
set -eu
umask 022

program=$1 sbom=$2 root=$3
[ ! -e "$root" ] || { echo "$root exists already, expected a new folder." >&2; exit 1; }

install -d "$root/usr/bin" "$root/etc" "$root/models" "$root/tmp"
install -d -m 0777 "$root/cache" # a volume takes its owner's rights from here
chmod 1777 "$root/tmp"
install -s -m 0755 "$program" "$root/usr/bin/"
install -D -m 0644 "$sbom" "$root/usr/share/doc/spate/spate.spdx.json"

install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"

# "libuv.so.1 => /lib/x86_64-linux-gnu/libuv.so.1 (0x…)" and "/lib64/ld-linux-x86-64.so.2 (0x…)"
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
  install -D -m 0755 "$library" "$root$library"
done

echo "root:x:0:0::/:/bin/false
nonroot:x:65532:65532::/:/bin/false" >"$root/etc/passwd"
echo "root:x:0:
nonroot:x:65532:" >"$root/etc/group"
echo "hosts: files dns" >"$root/etc/nsswitch.conf"

[ -z "${SOURCE_DATE_EPOCH:-}" ] || find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
