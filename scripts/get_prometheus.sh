#!/bin/sh
# Prints a folder with prometheus, promtool and the Python package prometheus_client, by which the tests judge /metrics; fetches them
# first if need be. Debian's package prometheus is unpacked and not installed: that would start a server.
set -eu

version=0.26.0 # of prometheus_client
folder=${XDG_CACHE_HOME:-$HOME/.cache}/spate/prometheus-2-$version

if [ ! -d "$folder" ]; then
  mkdir -p "$(dirname "$folder")"
  work=$(mktemp -d "$folder.XXXXXX")
  trap 'rm -rf "$work"' EXIT INT TERM
  echo "Fetching Prometheus and prometheus_client (20 MB) ..." >&2
  (cd "$work" && apt-get download -qq prometheus >&2 && dpkg-deb -x prometheus_*.deb unpacked) ||
    { echo "apt-get could not download the package prometheus: run apt-get update first." >&2; exit 1; }
  mkdir "$work/out"
  mv "$work"/unpacked/usr/bin/prometheus "$work"/unpacked/usr/bin/promtool "$work/out/"
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$work/out" prometheus_client==$version >&2
  mv -T "$work/out" "$folder"
fi
echo "$folder"
