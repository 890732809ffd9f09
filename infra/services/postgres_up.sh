#!/usr/bin/env bash
# A PostgreSQL server on loopback for Prefect and MLflow, with a database for each.
#
#   POSTGRES_PASSWORD=… infra/services/postgres_up.sh DIR PORT
#
# Serves on 127.0.0.1:PORT until SIGINT. The databases `prefect` and `mlflow` belong to the user `postgres`, who logs in with the password.
# Data are kept in DIR. PostgreSQL refuses to run as root; started by root it runs as the system's user `postgres`.
# Its programs are searched on PATH and in Debian's folder; Debian: apt-get install postgresql.
set -euo pipefail

fail() { echo "postgres_up.sh: $*" >&2; exit 1; }
[ $# -eq 2 ] || fail "usage: POSTGRES_PASSWORD=… postgres_up.sh DIR PORT"
[ -n "${POSTGRES_PASSWORD:-}" ] || fail "POSTGRES_PASSWORD is empty; set the password of the user postgres"
mkdir -p "$1"
DIR=$(cd "$1" && pwd) PORT=$2
PATH=$PATH:$(printf '%s:' /usr/lib/postgresql/*/bin)
command -v initdb >/dev/null || fail "PostgreSQL is not installed; apt-get install postgresql, or put its bin folder on PATH"

AS=()
if [ "$(id -u)" -eq 0 ]; then
  AS=(setpriv --reuid=postgres --regid=postgres --init-groups)
  chown postgres "$DIR"
  "${AS[@]}" test -w "$DIR" || fail "the user postgres cannot reach $DIR; choose a folder outside of a private one"
fi

if [ ! -e "$DIR/complete" ]; then
  rm -rf "$DIR/data"
  trap 'rm -f "$DIR/password"' EXIT
  printf '%s\n' "$POSTGRES_PASSWORD" | "${AS[@]}" bash -c 'umask 077 && cat >"$1"' - "$DIR/password"
  "${AS[@]}" initdb --pgdata "$DIR/data" --username postgres --auth scram-sha-256 --pwfile "$DIR/password" >"$DIR/initdb.log" 2>&1 ||
    fail "no database cluster could be created: $(tail -n 1 "$DIR/initdb.log")"
  rm -f "$DIR/password"
  for database in prefect mlflow; do
    echo "CREATE DATABASE $database" | "${AS[@]}" postgres --single -D "$DIR/data" postgres >>"$DIR/initdb.log"
  done
  touch "$DIR/complete"
fi
exec "${AS[@]}" postgres -D "$DIR/data" -p "$PORT" -k "" -c listen_addresses=127.0.0.1 -c max_connections=200
