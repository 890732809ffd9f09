#!/usr/bin/env bash
# An S3 service on loopback for tests and trials: OpenStack Swift with its S3 API, one node, one copy of every object.
#
#   infra/services/s3_up.sh DIR PORT
#
# Serves S3 on 127.0.0.1:PORT (PORT+1 to PORT+3 serve behind it) until Ctrl-C or SIGTERM, then stops all it started.
# Objects, settings and logs lie in DIR, on a filesystem with extended attributes. `kill $(cat DIR/pid)` stops it from elsewhere.
# The first run installs Swift from PyPI (235 MB) into a virtual environment of its own, $SWIFT_VENV.
# Prints one line when it is ready, or one line on stderr saying why it is not.
# Key test:tester, secret $S3_SECRET (default: testing), region us-east-1. The bucket is yours to create.
set -euo pipefail

SWIFT=swift==2.38.3
KEY=test:tester SECRET=${S3_SECRET:-testing} REGION=us-east-1
VENV=${SWIFT_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/bioclip-pipeline/swift-venv}
READY_S=120

fail() { echo "s3_up.sh: $*" >&2; exit 1; }
[ $# -eq 2 ] || fail "usage: s3_up.sh DIR PORT"
mkdir -p "$1"
DIR=$(cd "$1" && pwd) PORT=$2
PIDS=()
stop() {
  trap - EXIT INT TERM
  [ ${#PIDS[@]} -eq 0 ] || { kill "${PIDS[@]}" 2>/dev/null || true; wait "${PIDS[@]}" 2>/dev/null || true; }
  rm -f "$DIR/pid"
}
trap stop EXIT
trap 'exit 0' INT TERM

is_listening() (exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$1")

check_ports() {
  local port
  for port in "$PORT" $((PORT + 1)) $((PORT + 2)) $((PORT + 3)); do
    ! is_listening "$port" || fail "port $port is taken; choose another PORT (it and the next three are needed)"
  done
}

install_swift() {
  [ ! -e "$VENV/.$SWIFT" ] || return 0
  rm -rf "$VENV"
  "${PYTHON:-python3}" -m venv "$VENV" || fail "no virtual environment could be made in $VENV"
  # Swift still imports pkg_resources, which setuptools 81 dropped.
  "$VENV/bin/pip" install --quiet --disable-pip-version-check "$SWIFT" 'setuptools<81' >"$DIR/install.log" 2>&1 ||
    fail "$SWIFT could not be installed: $(grep -v '^WARNING' "$DIR/install.log" | tail -n 1)"
  touch "$VENV/.$SWIFT"
}

server_head() { # PORT: what every server's file starts with
  printf '[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = %s\nworkers = 0\nuser = %s\nswift_dir = %s/etc\n' "$1" "$(id -un)" "$DIR"
  printf 'devices = %s/data\nmount_check = false\ndisable_fallocate = true\nrecon_cache_path = %s/cache\n' "$DIR" "$DIR"
  printf 'log_level = WARNING\nlog_address = %s/no-syslog\nlog_udp_host =\n\n' "$DIR"
}

write_settings() {
  mkdir -p "$DIR"/{etc,data/disk,log,cache}
  printf '[swift-hash]\nswift_hash_path_suffix = tree\nswift_hash_path_prefix = life\n\n' >"$DIR/etc/swift.conf"
  printf '[storage-policy:0]\nname = one-copy\ndefault = yes\n' >>"$DIR/etc/swift.conf"
  local kind port=$PORT
  for kind in account container object; do
    port=$((port + 1))
    { server_head $port; printf '[pipeline:main]\npipeline = %s-server\n\n[app:%s-server]\nuse = egg:swift#%s\n' $kind $kind $kind; } >"$DIR/etc/$kind.conf"
    write_ring $kind $port
  done
  local filters="catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth slo dlo versioned_writes symlink" filter
  {
    server_head "$PORT"
    printf '[pipeline:main]\npipeline = %s proxy-server\n\n[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n' "$filters"
    for filter in $filters; do
      printf '\n[filter:%s]\nuse = egg:swift#%s\n' "$filter" "${filter/#cache/memcache}"
      case $filter in
        cache) printf 'memcache_servers = 127.0.0.1:1\n' ;; # nobody there: every request sees the truth
        s3api) printf 's3_acl = false\ncheck_bucket_owner = false\nlocation = %s\n' $REGION ;;
        tempauth) printf 'user_%s = %s .admin\n' "${KEY/:/_}" $SECRET ;;
        versioned_writes) printf 'allow_versioned_writes = true\nallow_object_versioning = true\n' ;;
      esac
    done
  } >"$DIR/etc/proxy.conf"
}

write_ring() { # KIND PORT: where one kind of data lies
  rm -f "$DIR/etc/$1".{builder,ring.gz}
  local build=("$VENV/bin/swift-ring-builder" "$DIR/etc/$1.builder")
  { "${build[@]}" create 4 1 1 && "${build[@]}" add "r1z1-127.0.0.1:$2/disk" 1 && "${build[@]}" rebalance; } >"$DIR/log/ring-$1.log" 2>&1 ||
    fail "the ring of $1 could not be built: $(tail -n 1 "$DIR/log/ring-$1.log")"
}

start_servers() {
  local kind
  for kind in account container object proxy; do
    "$VENV/bin/swift-$kind-server" "$DIR/etc/$kind.conf" --verbose >"$DIR/log/$kind.log" 2>&1 &
    PIDS+=($!)
  done
}

wait_until_ready() {
  local deadline=$((SECONDS + READY_S)) kinds=(account container object proxy) ports=($((PORT + 1)) $((PORT + 2)) $((PORT + 3)) "$PORT") i
  for i in 0 1 2 3; do
    until is_listening "${ports[$i]}" && kill -0 "${PIDS[$i]}" 2>/dev/null; do
      kill -0 "${PIDS[$i]}" 2>/dev/null || fail "swift-${kinds[$i]}-server ended: $(tail -n 1 "$DIR/log/${kinds[$i]}.log")"
      [ $SECONDS -lt $deadline ] || fail "no answer on port ${ports[$i]} after $READY_S s; see $DIR/log"
      sleep 0.1
    done
  done
}

check_ports
install_swift
write_settings
echo $$ >"$DIR/pid"
start_servers
wait_until_ready
echo "ready: S3 on http://127.0.0.1:$PORT  key $KEY  secret $SECRET  region $REGION"
wait
