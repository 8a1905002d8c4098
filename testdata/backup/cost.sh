#!/bin/bash
# What backups cost the server beside them, measured in one run: the throughput of POST /api/messages with and without shipping, a
# round of each in turn, and its latency at a steady rate alone and during full backups, verifications, checks and compactions. Needs Go,
# curl, jq, and a machine on which nothing else runs.
#
#     testdata/backup/cost.sh [ROUNDS] [SECONDS] [STORED] [RATE]
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-5} seconds=${2:-10} stored=${3:-300000} rate=${4:-2000}

work=$(mktemp -d)
servers=()
stop() {
	for pid in "${servers[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$work"
}
trap stop EXIT
CGO_ENABLED=0 go build -o "$work/tuco" .
tuco=$work/tuco
mkdir "$work/target"
# The object is only ever encrypted here, and verified with the key: any key will do.
go run ./testdata/backup/identity >"$work/identity"
recipient=$(sed -n 's/^# public key: //p' "$work/identity")

# start NAME PORT FLAGS…: a server with 20 workspaces, whose keys are in NAME.keys
start() {
	local name=$1 port=$2
	shift 2
	"$tuco" serve --data "$work/$name" --listen "127.0.0.1:$port" --log-level warn "$@" 2>"$work/$name.log" &
	servers+=($!)
	until curl -sf "http://127.0.0.1:$port/livez" >/dev/null; do sleep 0.1; kill -0 $!; done
	"$tuco" plan set cost --requests-per-minute 0 --data "$work/$name" >/dev/null
	for i in $(seq 20); do
		ws=$("$tuco" workspace create "W$i" --plan cost --data "$work/$name" --json | jq -r .id)
		"$tuco" line create --workspace "$ws" --env production --type imessage --phone "+1202555$((1000 + i))" --data "$work/$name" >/dev/null
		"$tuco" key create --workspace "$ws" --env production --name cost --role member --data "$work/$name" --json | jq -r .secret >>"$work/$name.keys"
	done
}
# load NAME PORT FLAGS…: requests a second, p50 and p99 in milliseconds, bytes to the device
load() {
	local name=$1 port=$2
	shift 2
	"$tuco" bench --url "http://127.0.0.1:$port" --key-file "$work/$name.keys" --data "$work/$name" --no-ceilings --duration "${seconds}s" --warmup 1s --json "$@" |
		jq -r '[.operations[0].perSecond, .operations[0].p50Ms, .operations[0].p99Ms, (.written.deviceBytesPerMessage // 0), ([.refusals[]?.count] | add // 0)] | @tsv'
}
# care WHAT: once
care() {
	case $1 in
	create | verify) "$tuco" backup "$1" --data "$work/shipped" --json ;;
	*) "$tuco" "$1" --data "$work/shipped" --json ;;
	esac
}
median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2) }'; }

start plain 18431
start shipped 18432 --backup-to "$work/target" --backup-recipient "$recipient" --backup-identity "$work/identity"
"$tuco" backup create --data "$work/shipped" >/dev/null

cat /proc/loadavg
printf 'round\tserver\trequests/s\tp50 ms\tp99 ms\tdevice bytes/message\trefusals\n'
for round in $(seq "$rounds"); do
	for name in plain shipped; do
		[ $name = plain ] && port=18431 || port=18432
		before=$(du -sb "$work/target" | cut -f1)
		row=$(load $name $port)
		printf '%s\t%s\t%s\n' "$round" $name "$row" | tee -a "$work/throughput"
		[ $name = shipped ] && echo "$(du -sb "$work/target" | cut -f1) $before $(echo "$row" | cut -f1)" |
			awk -v s="$seconds" '{ printf "%d\n", ($1 - $2) / ($3 * (s + 1)) }' >>"$work/objects"
	done
done
p=$(awk '$2 == "plain" { print $3 }' "$work/throughput" | median) s=$(awk '$2 == "shipped" { print $3 }' "$work/throughput" | median)
echo "throughput, median: $p without, $s with shipping: $(awk "BEGIN { printf \"%.3f\", $s / $p }")"
echo "stored in the target: $(median <"$work/objects") bytes a message"

load shipped 18432 --messages "$stored" --duration 1s >/dev/null
echo "database: $(du -sm "$work/shipped/tuco.db" | cut -f1) MiB; $rate requests a second"
printf 'round\tbeside\trequests/s\tp50 ms\tp99 ms\tdevice bytes/message\trefusals\n'
for round in $(seq "$rounds"); do
	for beside in nothing create verify check compact; do
		touch "$work/go"
		if [ $beside != nothing ]; then
			(while [ -e "$work/go" ]; do care $beside >>"$work/$beside.out" || sleep 1; done) &
			other=$!
		fi
		printf '%s\t%s\t%s\n' "$round" $beside "$(load shipped 18432 --rate "$rate")" | tee -a "$work/latency"
		rm "$work/go"
		[ $beside = nothing ] || wait $other
	done
done
n=$(awk '$2 == "nothing" { print $5 }' "$work/latency" | median)
for beside in create verify check compact; do
	b=$(awk -v k=$beside '$2 == k { print $5 }' "$work/latency" | median)
	echo "p99, median: $n ms alone, $b ms during $beside ($(jq -s length "$work/$beside.out") times): $(awk "BEGIN { printf \"%.2f\", $b / $n }")"
done
cat /proc/loadavg
