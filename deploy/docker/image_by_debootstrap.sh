#!/bin/sh
# Builds the image's root without a container engine: debootstrap makes the Debian 12 that the Dockerfile begins with, and in it
# the Dockerfile's own RUN lines are run on the files that .dockerignore lets through. Needs root and a mirror.
# usage: image_by_debootstrap.sh ROOT        ROOT must not exist yet
#        SPATE_TEST_IMAGE=ROOT ctest -R e2e/test_containers     runs the server in it
set -eu

root=$(realpath -m "$1") mirror=${MIRROR:-http://deb.debian.org/debian}
[ ! -e "$root" ] || { echo "$root exists already, expected a new folder." >&2; exit 1; }
cd "$(dirname "$0")/../.."

scripts/install_packages.sh image
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT INT TERM
debootstrap --variant=minbase bookworm "$base" "$mirror" >&2
echo "deb $mirror bookworm main
deb $mirror bookworm-updates main
deb $mirror-security bookworm-security main" >"$base/etc/apt/sources.list"
cp /etc/resolv.conf "$base/etc/"

mkdir "$base/spate"
sed -n 's/^!//p' .dockerignore | xargs cp -r --parents --target-directory="$base/spate"

# The lines up to the second FROM are those of the build; an ARG is a variable of theirs.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
sed "/^FROM scratch/,\$d" deploy/docker/Dockerfile | sed -n "s/^RUN //p" | while read -r line; do
  echo "RUN $line" >&2
  chroot "$base" sh -c "cd /spate && $line" </dev/null >&2
done
mv "$base/image" "$root"
echo "$root: $(find "$root" -type f -printf "%s\n" | awk "{ bytes += \$1 } END { printf \"%.1f MB\", bytes / 1e6 }")"
