#!/bin/sh
# Starts a server with the settings below. Each gives way to the variable of the same name in the environment (three are
# also called MODEL_DIR, PORT and LOG_LEVEL), and to an option given to this script:
#   SPATE_PORT=9000 deploy/start_server.sh --workers 4
# Where a file of settings is named (SPATE_CONFIG or --config), the file is used in place of them. What else spate serve
# can be told: spate serve --help.
set -eu

# the model (or engine file), and the port
: "${SPATE_MODEL:=${MODEL_DIR:-/models/llama-7b}}"
if [ -z "${SPATE_UDS:-}" ]; then # a path to listen at in their place
  : "${SPATE_HOST:=0.0.0.0}"
  : "${SPATE_PORT:=${PORT:-8000}}"
fi
# error, warning, info or debug
: "${SPATE_LOG_LEVEL:=${LOG_LEVEL:-info}}"
# network threads
: "${SPATE_WORKERS:=2}"
# seconds that an idle connection stays open
: "${SPATE_TIMEOUT_KEEP_ALIVE:=60}"

case " ${SPATE_CONFIG:+--config} $* " in
*" --config "* | *" --config="*) ;;
*) export SPATE_MODEL SPATE_HOST SPATE_PORT SPATE_LOG_LEVEL SPATE_WORKERS SPATE_TIMEOUT_KEEP_ALIVE ;;
esac

exec "${SPATE:-spate}" serve "$@"
