#!/bin/bash
# Does the same work with Tuco, with a service on PostgreSQL and with PocketBase, one after the other, again and again,
# and prints the figures beside each other.
#
#   testdata/compare/run.sh [SECONDS] [ROUNDS]     10 seconds for each measurement, 2 rounds by default
#
# Each system gets the same requests from the same program over 64 connections (CONNECTIONS=N changes that), for 1,000 people of each of
# 100 workspaces (CONTACTS, WORKSPACES), and keeps its data on the same disk: a temporary directory, removed at the end (TMPDIR=DIR puts it
# elsewhere). It is empty at first, or holds STORED=N messages, which are sent before anything is measured. Tuco and PostgreSQL
# make every message durable before they answer; PocketBase, as it comes, does not wait for the disk. A system that can't
# be built or started is left out, and the script says why. Needs Go with its modules, and PostgreSQL's programs.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-10} rounds=${2:-2} connections=${CONNECTIONS:-64} workspaces=${WORKSPACES:-100} contacts=${CONTACTS:-1000} stored=${STORED:-0}

for variable in "${!TUCO_@}"; do unset "$variable"; done # settings of a server that has nothing to do with this
work=$(mktemp -d)
chmod 755 "$work"
running=()
cleanup() {
	for pid in "${running[@]}"; do
		kill "$pid" 2>/dev/null && wait "$pid" || true
	done
	rm -rf "$work"
}
trap cleanup EXIT
mkdir "$work/results"

# free_port prints a port that nobody listens on.
free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM % 10000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	echo "$port"
}

# listening waits until somebody listens on a port, while a process lives.
listening() {
	local port=$1 pid=$2
	until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
		kill -0 "$pid" 2>/dev/null || return 1
		sleep 0.1
	done
}

skip() { echo "left out: $1: $2" >&2; }

CGO_ENABLED=0 go build -o "$work/tuco" tuco
go build -o "$work/table" ./table
systems=(tuco)

# PostgreSQL runs as root on no account.
as_user=()
if [ "$(id -u)" = 0 ]; then
	as_user=(setpriv --reuid nobody --regid nogroup --clear-groups env HOME=/nonexistent)
fi
start_cluster() {
	local bin=$1
	mkdir "$work/pg"
	[ ${#as_user[@]} -eq 0 ] || chown nobody:nogroup "$work/pg"
	"${as_user[@]}" "$bin/initdb" -D "$work/pg/data" -U bench --auth=trust -E UTF8 --locale=C >"$work/initdb.log" 2>&1 || return 1
	"${as_user[@]}" "$bin/postgres" -D "$work/pg/data" -k "$work/pg" -c listen_addresses= -c shared_buffers=1GB -c max_connections=200 >"$work/postgres.log" 2>&1 &
	running+=($!)
	until [ -S "$work/pg/.s.PGSQL.5432" ] && "$bin/psql" -h "$work/pg" -U bench -d postgres -qc 'SELECT 1' >/dev/null 2>&1; do
		kill -0 "${running[-1]}" 2>/dev/null || return 1
		sleep 0.1
	done
}
start_postgres() {
	local initdb bin
	initdb=$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -1)
	if [ -z "$initdb" ]; then
		skip postgres 'its programs are not there: apt-get install postgresql'
		return
	fi
	bin=$(dirname "$(readlink -f "$initdb")")
	if ! (cd postgres && CGO_ENABLED=0 go build -o "$work/postgres-service" .); then
		skip postgres 'the service was not built'
		return
	fi
	if ! start_cluster "$bin"; then
		skip postgres 'the cluster did not start:'
		tail -5 "$work/initdb.log" "$work/postgres.log" >&2 || true
		return
	fi
	postgres_port=$(free_port)
	"$work/postgres-service" "host=$work/pg user=bench dbname=postgres pool_max_conns=32" "127.0.0.1:$postgres_port" "$work/postgres.keys" "$workspaces" 2>"$work/service.log" &
	running=($! "${running[@]}") # it goes before the database
	if ! listening "$postgres_port" "$!"; then
		skip postgres 'the service did not start:'
		tail -5 "$work/service.log" >&2
		return
	fi
	systems+=(postgres)
}
start_pocketbase() {
	if ! (cd pocketbase && CGO_ENABLED=0 go build -o "$work/pocketbase" .); then
		skip pocketbase 'it was not built'
		return
	fi
	pocketbase_port=$(free_port)
	"$work/pocketbase" "$work/pb" "127.0.0.1:$pocketbase_port" "$work/pocketbase.keys" >"$work/pocketbase.log" 2>&1 &
	running+=($!)
	if ! listening "$pocketbase_port" "$!"; then
		skip pocketbase 'it did not start:'
		tail -5 "$work/pocketbase.log" >&2
		return
	fi
	systems+=(pocketbase)
}

# load SYSTEM FLAG...
load() {
	local system=$1 flags=(--json --no-ceilings --contacts "$contacts")
	shift
	case $system in
	tuco) flags+=(--data "$work/tuco-data" --workspaces "$workspaces") ;;
	postgres) flags+=(--url "http://127.0.0.1:$postgres_port" --key-file "$work/postgres.keys") ;;
	pocketbase) flags+=(--url "http://127.0.0.1:$pocketbase_port" --key-file "$work/pocketbase.keys" --path /api/collections/messages/records) ;;
	esac
	"$work/tuco" bench "${flags[@]}" "$@"
}

# measure SYSTEM OPERATION ROUND
measure() {
	echo "round $3: $2, $1" >&2
	load "$1" --connections "$connections" --duration "${seconds}s" --mix "$2=100" >"$work/results/$1-$2-$3.json"
}

start_postgres
start_pocketbase
if [ "$stored" -gt 0 ]; then
	for system in "${systems[@]}"; do
		echo "storing $stored messages: $system" >&2
		load "$system" --connections 256 --messages "$stored" --duration 1s >/dev/null
	done
fi
for round in $(seq "$rounds"); do
	for operation in send get; do
		for system in "${systems[@]}"; do
			measure "$system" "$operation" "$round"
		done
	done
done
"$work/table" "$work/results"
