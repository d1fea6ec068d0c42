#!/bin/sh
# Makes what is missing in ./secrets for docker-compose.yml; what is there stays. The two secrets of the provider are
# asked for, or taken from ZEGO_SERVER_SECRET and ZEGO_CALLBACK_SECRET.
set -eu

# The files are readable by all, since the containers' users have other numbers than ours; the folder lets nobody in.
mkdir -p secrets
chmod 700 secrets
umask 022

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
missing() { [ ! -s "secrets/$1" ]; }
write() { printf '%s' "$2" >"secrets/$1" && echo "made secrets/$1"; }
ask() {
  missing "$1" || return 0
  if [ -z "$3" ]; then
    printf '%s: ' "$2" >&2
    read -r answer
    set -- "$1" "$2" "$answer"
  fi
  [ -n "$3" ] || { echo "$2 is needed" >&2; exit 1; }
  write "$1" "$3"
}

missing database_password && write database_password "$(random)"
missing database_url &&
  write database_url "postgresql://recording:$(cat secrets/database_password)@postgres/recording"
missing metrics_key && write metrics_key "$(random)"
missing api_keys && write api_keys "admin:admin:$(random),prometheus:read:$(cat secrets/metrics_key)"
missing grafana_password && write grafana_password "$(random)"
ask zego_server_secret "ServerSecret of the provider's console" "${ZEGO_SERVER_SECRET:-}"
ask zego_callback_secret "CallbackSecret of the provider's console" "${ZEGO_CALLBACK_SECRET:-}"
