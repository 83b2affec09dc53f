#!/bin/sh
# Prints what `docker build` is to know of the commit that is checked out: its time, and its hash, with "-dirty" where files
# differ from it.
set -eu
cd "$(dirname "$0")/../.."
echo "--build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)"
echo "--build-arg SPATE_REVISION=$(git describe --always --abbrev=40 --exclude='*' --dirty)"
