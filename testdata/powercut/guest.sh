#!/bin/bash
# The first process of the guest: run.sh boots it. It works in the directory $POWERCUT of the host.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TMPDIR=/tmp GODEBUG=
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /mnt
mkdir /mnt/host /mnt/disk
mount -t hostfs none /mnt/host -o "$POWERCUT"
cd /mnt || halt -f
ip link set lo up

modules=/usr/lib/uml/modules/$(uname -r)/kernel/drivers/md
insmod "$modules/dm-mod.ko"
insmod "$modules/dm-flakey.ko"
size=$(blockdev --getsz /dev/ubda)
mkfs.ext4 -q -F /dev/ubda
dmsetup create flaky --table "0 $size flakey /dev/ubda 0 1000 0"
dmsetup mknodes
mount -o commit=1000 /dev/mapper/flaky disk

serve() { # LOG: starts a server and waits until its admin socket answers; false if it doesn't come
	# With so little memory for it, what is committed is moved into the database all the time: cuts come
	# while it is, while the log is released, and while a recovery does both.
	host/tuco serve --data disk/data --listen 127.0.0.1:8420 --reserve 8MiB --overlay "${OVERLAY:-1MiB}" 2>"$1" &
	server=$!
	for _ in $(seq 600); do
		host/tuco workspace list --data disk/data >/dev/null 2>&1 && return 0
		kill -0 $server 2>/dev/null || return 1
		sleep 0.1
	done
	return 1
}
field() { sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }

serve host/serve.log
host/tuco plan set cut --requests-per-minute 0 --data disk/data >/dev/null
workspace=$(host/tuco workspace create Cut --plan cut --data disk/data --json | field id)
key=$(host/tuco key create --workspace "$workspace" --env production --name cut --data disk/data --json | field secret)
for n in 0 1; do
	host/tuco line create --workspace "$workspace" --env production --type imessage --phone "+1202555010$n" \
		--device-gap 0s --contact-gap 0s --data disk/data >/dev/null
done

# cut: while the disk is suspended nothing can be acknowledged, and after that it drops every write.
cut() {
	dmsetup suspend --nolockfs flaky
	dmsetup load flaky --table "0 $size flakey /dev/ubda 0 0 1000 1 drop_writes"
	[ -e host/acks.cut ] || cp host/acks host/acks.cut
	dmsetup resume flaky
	kill -9 $server $load 2>/dev/null
	wait $server $load 2>/dev/null
	umount disk
	dmsetup remove flaky
}

host/load -url http://127.0.0.1:8420 -key "$key" -acks host/acks &
load=$!
for _ in $(seq 600); do
	[ -s host/acks ] && break
	sleep 0.1
done
sleep "$((RANDOM % 3)).$((RANDOM % 1000))"
cut

# One time in two the power goes again while the server recovers.
if [ "${RECUT:-$((RANDOM % 2))}" = 1 ]; then
	dmsetup create flaky --table "0 $size flakey /dev/ubda 0 1000 0"
	dmsetup mknodes
	mount -o commit=1000 /dev/mapper/flaky disk
	host/tuco serve --data disk/data --listen 127.0.0.1:8420 --reserve 8MiB --overlay "${OVERLAY:-1MiB}" 2>host/recut.log &
	server=$!
	sleep "0.$((RANDOM % 1000))"
	cut
	echo recut >host/recut
fi
mount /dev/ubda disk

acked=$(wc -l <host/acks.cut)
if serve host/again.log; then
	host/load -url http://127.0.0.1:8420 -key "$key" -acks host/acks.cut -verify >lost 2>host/verify.log
	lost=$(cat lost)
	verdict=sound
	host/tuco check --data disk/data >>host/verify.log 2>&1 || verdict='check-found-faults'
	grep -q 'usage is not' host/verify.log && verdict='usage-is-wrong'
	kill $server
	wait $server
else
	lost=$acked verdict='does-not-start'
fi
echo "$verdict $acked ${lost:-$acked}" >host/result
sync
umount disk
halt -f
