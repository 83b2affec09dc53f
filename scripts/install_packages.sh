#!/bin/sh
# Installs the Debian packages that the build (or the tests) need and that are missing; with sudo when not root.
# usage: install_packages.sh build|deb|test|browser|image
set -eu

build="gcc libc6-dev cmake ninja-build pkg-config python3 python3-pip unzip ca-certificates curl
  libuv1-dev libhttp-parser-dev libjansson-dev libpcre2-dev libutf8proc-dev libxxhash-dev libssl-dev libyaml-dev
  libjpeg62-turbo-dev libpng-dev libwebp-dev"
deb="$build dpkg-dev file"
test="$deb git ccache python3-yaml mandoc man-db zsh fish lintian shellcheck systemd gcovr cppcheck clang-tidy libcmocka-dev clang libclang-rt-14-dev clang-format
  gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
browser="chromium fonts-dejavu-core" # large: only for tests/e2e/web_in_browser.py
image=debootstrap # only for deploy/docker/image_by_debootstrap.sh

case "${1:-}" in
  build) wanted=$build ;;
  deb) wanted=$deb ;;
  test) wanted=$test ;;
  browser) wanted=$browser ;;
  image) wanted=$image ;;
  *) echo "usage: $0 build|deb|test|browser|image" >&2; exit 2 ;;
esac

missing=""
for package in $wanted; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=""
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "These packages are missing, and there is no sudo to install them:$missing" >&2; exit 1; }
  sudo=sudo
fi
echo "Installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
$sudo apt-get update >"$log" 2>&1 && $sudo apt-get install -y --no-install-recommends $missing >"$log" 2>&1 ||
  { tail -n 20 "$log" >&2; echo "apt-get could not install:$missing" >&2; rm -f "$log"; exit 1; }
rm -f "$log"
