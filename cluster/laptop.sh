#!/usr/bin/env bash
# One Ray head on this machine: job server on loopback, token authentication on (Ray's own ports listen on the node's address).
#   cluster/laptop.sh start            start it (idempotent)
#   cluster/laptop.sh submit JOB ...   ray job submit of a job of this checkout, logs followed, its exit status ours
#   cluster/laptop.sh stop             stop this one, and no other
#   cluster/laptop.sh status           say whether it is up; exit status 0 if so
#   cluster/laptop.sh env              print the variables that let another shell reach it
set -euo pipefail
cd "$(dirname "$0")/.."

command -v ray >/dev/null || {
  echo "error: there is no 'ray' on the PATH. Received: $PATH. Allowed: the environment that STAR is installed in." \
    "Fix: source .venv/bin/activate" >&2
  exit 2
}

home="${STAR_LAPTOP_HOME:-$HOME/.star-laptop}"
gcs_port="${STAR_LAPTOP_PORT:-26379}"
dashboard_port="${STAR_LAPTOP_DASHBOARD_PORT:-28265}"
# Logical CPUs: twice the cores, because on two cores a training process, the feed's tasks and the job's driver each
# ask for one, and a cluster of two logical CPUs would wait for ever (docs/decisions/0005-logical-cpus.md).
cpus="${STAR_LAPTOP_CPUS:-$(($(nproc) * 2))}"
store_bytes="${STAR_LAPTOP_STORE_BYTES:-1000000000}"

export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$home/token" RAY_USAGE_STATS_ENABLED=0
export RAY_ADDRESS="http://127.0.0.1:$dashboard_port" RAY_DATA_DISABLE_PROGRESS_BARS=1

make_token() {
  mkdir -p "$home"
  if [ ! -s "$RAY_AUTH_TOKEN_PATH" ]; then
    (umask 077 && python3 -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH")
  fi
}

alive() { ray job list >/dev/null 2>&1; }

start() {
  make_token
  if alive; then
    echo "laptop cluster: already up at $RAY_ADDRESS"
    return
  fi
  mkdir -p "$home/ray"
  # RAY_ADDRESS must be unset here: `ray start --head` refuses to start beside an address it is told to join.
  env -u RAY_ADDRESS setsid ray start --head --node-ip-address=127.0.0.1 --port="$gcs_port" \
    --dashboard-host=127.0.0.1 --dashboard-port="$dashboard_port" --dashboard-agent-listen-port=0 \
    --min-worker-port=0 --max-worker-port=0 --num-cpus="$cpus" \
    --object-store-memory="$store_bytes" --temp-dir="$home/ray" --disable-usage-stats >"$home/start.log" 2>&1 || {
    cat "$home/start.log" >&2
    exit 1
  }
  for _ in $(seq 60); do
    alive && { echo "laptop cluster: up at $RAY_ADDRESS, $cpus logical CPUs"; return; }
    sleep 1
  done
  echo "laptop cluster: the job server did not answer within 60 s; see $home/start.log" >&2
  exit 1
}

# Ray's own processes of this cluster: their command lines carry its temp dir, so a neighbour's Ray is left alone, and
# so is a `tail -f` of its logs. Workers are the raylet's children and end with it.
members() {
  pgrep -f -- "$home/ray" | while read -r pid; do
    case "$(cat "/proc/$pid/comm" 2>/dev/null)" in
      gcs_server | raylet | ray* | python*) echo "$pid" ;;
    esac
  done
}

stop() {
  members | xargs -r kill -TERM 2>/dev/null || true
  for _ in $(seq 20); do
    [ -n "$(members)" ] || break
    sleep 0.5
  done
  members | xargs -r kill -KILL 2>/dev/null || true
  echo "laptop cluster: stopped"
}

status() {
  make_token
  if alive; then
    echo "laptop cluster: up at $RAY_ADDRESS"
  else
    echo "laptop cluster: not up"
    return 1
  fi
}

case "${1:-}" in
  start) start ;;
  stop) stop ;;
  status) status ;;
  submit) shift && make_token && exec ray job submit --working-dir . -- "$@" ;;
  env)
    make_token
    printf 'export RAY_AUTH_MODE=%s RAY_AUTH_TOKEN_PATH=%s RAY_ADDRESS=%s\n' token "$RAY_AUTH_TOKEN_PATH" "$RAY_ADDRESS"
    ;;
  *)
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
