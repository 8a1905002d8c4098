#!/bin/bash
# What staff's reads cost the customers beside them, measured in one run: how many a second there are over 64 connections, and the
# throughput of POST /api/messages with and without 1,000 of them a second, in turn. The load of both shares the
# machine with the server. Needs Go, curl, jq, and a machine on which nothing else runs.
#
#     testdata/staff/cost.sh [ROUNDS] [SECONDS] [RATE]
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-15} seconds=${2:-2} rate=${3:-1000}

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

# What the machine does otherwise changes from one second to the next, so the staff come and go while the customers' load goes on, and
# each time with them is compared with those before and after without.
accepted() { curl -sf $url/metrics | awk '/^tuco_http_requests_total{.*method="POST".*route="\/api\/messages".*status="201"/ { n += $NF } END { printf "%d\n", n }'; }
# second BEGAN COUNTED: messages a second since
second() { jq -n "($(accepted) - $2) / ($(date +%s.%N) - $1)"; }
median() { sort -g | awk '{ v[NR] = $1 } END { print (NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2) }'; }

cat /proc/loadavg
echo "staff alone: $("$work/load" -url "$look" -token "$token" -duration "${seconds}s") reads a second"
"$work/tuco" bench --url $url --key-file "$work/keys" --data "$data" --no-ceilings --duration "$(((3 * rounds + 4) * seconds))s" --warmup "${seconds}s" --json >"$work/bench" 2>&1 &
customers=$!
sleep $((2 * seconds))
printf 'round\tcustomers alone\tbeside staff\tratio to alone before and after\tstaff reads/s\n'
alone() { began=$(date +%s.%N) n=$(accepted) && sleep "$seconds" && second "$began" "$n"; }
before=$(alone)
for round in $(seq "$rounds"); do
	began=$(date +%s.%N) n=$(accepted)
	staff=$("$work/load" -url "$look" -token "$token" -rate "$rate" -duration "${seconds}s")
	beside=$(second "$began" "$n")
	after=$(alone)
	printf '%s\t%.0f\t%.0f\t%.3f\t%s\n' "$round" "$before" "$beside" "$(jq -n "2 * $beside / ($before + $after)")" "$staff" | tee -a "$work/rounds"
	before=$after
done
echo "median: customers keep $(cut -f4 "$work/rounds" | median); mean: $(cut -f4 "$work/rounds" | jq -s 'add / length')"
cat /proc/loadavg
kill $customers && wait $customers 2>/dev/null || true
