#!/bin/bash
# What staff's reads cost the customers beside them, measured in one run: how many a second there are over 64 connections, and the
# throughput of POST /api/messages with and without 1,000 of them a second, a round of each in turn. The load of both shares the
# machine with the server. Needs Go, curl, jq, and a machine on which nothing else runs.
#
#     testdata/staff/cost.sh [ROUNDS] [SECONDS] [RATE]
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-6} seconds=${2:-8} rate=${3:-1000}

work=$(mktemp -d)
stop() {
	kill -9 "$server" 2>/dev/null || true
	wait 2>/dev/null || true
	rm -rf "$work"
}
trap stop EXIT
CGO_ENABLED=0 go build -o "$work/tuco" .
CGO_ENABLED=0 go build -o "$work/load" ./testdata/staff/load
data=$work/data url=http://127.0.0.1:18441
tuco() { "$work/tuco" "$@" --data "$data" --json; }
"$work/tuco" serve --data "$data" --listen 127.0.0.1:18441 --log-level warn 2>"$work/log" &
server=$!
until curl -sf $url/livez >/dev/null; do sleep 0.1; kill -0 $server; done

# The customers use keys of their own making: looks with the operator's are recorded, too.
tuco plan set cost --requests-per-minute 0 >/dev/null
for i in $(seq 20); do
	ws=$(tuco workspace create "W$i" --plan cost | jq -r .id)
	tuco line create --workspace "$ws" --env production --type imessage --phone "+1202555$((1000 + i))" >/dev/null
	owner=$(tuco key create --workspace "$ws" --env production --name owner --role owner | jq -r .secret)
	curl -sf $url/api/keys -H "Authorization: Bearer $owner" -H 'Content-Type: application/json' -d '{"name":"cost","role":"member"}' | jq -r .secret >>"$work/keys"
done
message=$(curl -sf $url/api/messages -H "Authorization: Bearer $owner" -H 'Content-Type: application/json' -d '{"message":"Hello","recipientPhone":"+12025550142"}' | jq -r .message._id)
token=$(tuco staff add Sam --email sam@vendor.example --employer Vendor --country DE --role support | jq -r .token)
access=$(curl -sf $url/staff/access-requests -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
	-d "{\"workspaceId\":\"$ws\",\"environment\":\"production\",\"scopes\":[\"messages:read\"],\"reasonType\":\"service\",\"reason\":\"cost\",\"ticket\":\"T-1\",\"duration\":\"1h\"}" | jq -r .id)
curl -sf -X POST "$url/api/staff-access/requests/$access/approve" -H "Authorization: Bearer $owner" -H 'Content-Type: application/json' -d '{}' >/dev/null
look="$url/staff/workspaces/$ws/messages/$message?environment=production"

# customers: messages a second
customers() {
	"$work/tuco" bench --url $url --key-file "$work/keys" --data "$data" --no-ceilings --duration "${seconds}s" --warmup 1s --json | jq '.operations[0].perSecond'
}
median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2) }'; }

cat /proc/loadavg
echo "staff alone: $("$work/load" -url "$look" -token "$token" -duration "${seconds}s") reads a second"
printf 'round\tcustomers alone\tbeside staff\tratio\tstaff reads/s\n'
for round in $(seq "$rounds"); do
	alone=$(customers)
	"$work/load" -url "$look" -token "$token" -rate "$rate" -duration "$((seconds + 3))s" >"$work/staff" &
	other=$!
	beside=$(customers)
	wait $other
	printf '%s\t%s\t%s\t%.3f\t%s\n' "$round" "$alone" "$beside" "$(jq -n "$beside / $alone")" "$(cat "$work/staff")" | tee -a "$work/rounds"
done
echo "median: customers keep $(cut -f4 "$work/rounds" | median)"
cat /proc/loadavg
