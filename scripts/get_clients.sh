#!/bin/sh
# Prints the Python that has the public clients of the load tests, and what the tests of bindings/python run it with;
# fetches them from PyPI first if need be. They live in a virtual environment in the user's cache.
# usage: get_clients.sh [browser]   (browser: what drives the chromium of install_packages.sh, in an environment of its own)
set -eu

wanted="locust==2.47.0 openai==3.57.0 schemathesis==4.32.5 opentelemetry-proto==1.45.2 kubernetes-validate==1.37.0
  fastapi==0.165.0 uvicorn==0.54.0 uvloop==0.23.0 mypy==2.4.1 tokenizers==0.23.3 setuptools==84.2.1 spdx-tools==0.8.3
  pillow==13.0.0 huggingface_hub==2.4.0 gguf==0.19.0"
case "${1:-}" in
  "") ;;
  browser) wanted="playwright==1.65.2 axe-core-python==0.1.0" ;;
  *) echo "usage: $0 [browser]" >&2; exit 2 ;;
esac
version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
folder=${XDG_CACHE_HOME:-$HOME/.cache}/spate/clients-$version-$(echo "$wanted" | cksum | cut -d ' ' -f 1)

if [ ! -d "$folder" ]; then
  mkdir -p "$(dirname "$folder")"
  work=$(mktemp -d "$folder.XXXXXX")
  trap 'rm -rf "$work"' EXIT INT TERM
  echo "Fetching" $wanted "..." >&2
  python3 -m venv --without-pip "$work" >&2 # Debian's python3 alone cannot put pip there; the one outside can
  # shellcheck disable=SC2086 # a word for each package
  python3 -m pip --python "$work/bin/python" install --quiet --disable-pip-version-check $wanted >&2
  mv -T "$work" "$folder"
fi
echo "$folder/bin/python"
