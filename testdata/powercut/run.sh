#!/bin/bash
# Cuts the power under a loaded server, again and again, and looks whether anything that was acknowledged is gone.
#
#   testdata/powercut/run.sh [CUTS]            20 cuts by default; fails if a message was lost
#   NOSYNC=1 testdata/powercut/run.sh [CUTS]   the control: a build that acknowledges too early must lose some
#
# Each cut boots a User-Mode Linux, in which the data directory lies on a device-mapper disk that can be told to
# drop every further write. So what is lost is what a disk would lose: kill -9 alone loses nothing, since the
# page cache outlives a process. Needs Debian, and root where packages are missing; nothing outside a temporary
# directory is written.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
cuts=${1:-20}
export PATH=$PATH:/usr/sbin:/sbin

missing=()
for need in linux.uml:user-mode-linux insmod:kmod dmsetup:dmsetup mkfs.ext4:e2fsprogs ip:iproute2; do
	command -v "${need%%:*}" >/dev/null || missing+=("${need##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" != 0 ]; then
		echo "missing: apt-get install ${missing[*]}" >&2
		exit 1
	fi
	apt-get update -q >/dev/null
	DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${missing[@]}" >/dev/null
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tags=''
[ -n "${NOSYNC:-}" ] && tags=nosync
CGO_ENABLED=0 go build -tags "$tags" -o "$work/tuco" tuco
CGO_ENABLED=0 go build -o "$work/load" ./load
cp guest.sh "$work/guest.sh"
chmod 755 "$work" "$work/guest.sh"

began=$SECONDS acked=0 lost=0 damaged=0 broken=0 done=0
for cut in $(seq "$cuts"); do
	rm -f "$work"/{acks,acks.cut,result,recut,disk.img,serve.log,again.log,recut.log}
	truncate -s 256M "$work/disk.img"
	# linux.uml reads its console; without a file of its own it would take this script's.
	timeout 300 linux.uml mem=512M rootfstype=hostfs rootflags=/ ro "ubd0=$work/disk.img" con0=fd:0,fd:1 con=null \
		"init=$work/guest.sh" "POWERCUT=$work" quiet panic=-1 </dev/null >"$work/console" 2>&1 || true
	if [ ! -s "$work/result" ]; then
		echo "cut $cut: the guest came to no result" >&2
		tail -n 30 "$work/console" >&2
		broken=$((broken + 1))
		continue
	fi
	read -r verdict a l < "$work/result"
	again=''
	[ -e "$work/recut" ] && again=', cut again while it recovered'
	echo "cut $cut: $a acknowledged, $l lost, $verdict$again"
	done=$((done + 1)) acked=$((acked + a)) lost=$((lost + l))
	if [ "$verdict" != sound ]; then
		damaged=$((damaged + 1))
		[ -n "$tags" ] || tail -n 5 "$work/again.log" "$work/verify.log" >&2 || true
	fi
done

echo "$done cuts in $((SECONDS - began)) s: $acked messages acknowledged, $lost lost, $damaged times not sound, $broken times no result"
[ "$broken" = 0 ] || exit 1
if [ -n "${NOSYNC:-}" ]; then
	[ "$lost" -gt 0 ] || { echo "the control lost nothing: this rig proves nothing" >&2; exit 1; }
	echo 'the control lost some, as it must'
	exit 0
fi
[ "$acked" -gt 0 ] && [ "$lost" = 0 ] && [ "$damaged" = 0 ]
