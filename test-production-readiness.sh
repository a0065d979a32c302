#!/bin/sh
# Checks a running deployment. The arguments are those of `npm run readiness`: see --help.
set -eu
root=$(dirname "$0")
node=$root/node_modules/.bin/node

if [ ! -x "$node" ]; then
  echo 'Run npm ci first.' >&2
  exit 2
fi

has() {
  option=$1
  shift
  for argument; do
    case $argument in "$option" | "$option="*) return 0 ;; esac
  done
  return 1
}

if ! has --url "$@" && ! has --help "$@"; then
  set -- --url http://localhost:3000 "$@"
  echo "No --url: $2 is checked."
fi
if [ -z "${GATEWAY_KEY:-}" ] && ! has --key "$@" && ! has --help "$@"; then
  export GATEWAY_KEY=llmgw_test123456789abcdef0123456789abcdef0123456789abcdef0123456789
  echo 'No --key and no GATEWAY_KEY: the published test key is used.'
fi

exec "$node" "$root/scripts/readiness.ts" "$@"
