#!/bin/sh
# The first time the service is enabled and started; an upgrade restarts it if it runs, and lets it be if it was stopped.
set -e
if [ ! -d /var/lib/tuco ]; then
	install -d -m 0700 -o tuco -g tuco /var/lib/tuco
fi
first=
if [ -e /run/tuco.installing ]; then
	first=yes
	rm -f /run/tuco.installing
fi
if ! command -v systemctl >/dev/null; then
	exit 0
fi
if [ -n "$first" ]; then
	systemctl enable tuco.service
fi
if [ -d /run/systemd/system ]; then # else an image is being made, and the service starts when that boots
	systemctl daemon-reload
	action=try-restart
	if [ -n "$first" ]; then
		action=start
	fi
	systemctl $action tuco.service || echo "tuco does not start: see 'journalctl -u tuco'" >&2
fi
