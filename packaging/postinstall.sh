#!/bin/sh
# deb: configure VERSION-BEFORE (empty the first time); rpm: the number of packages that are there now, 1 the first time.
set -e
if [ ! -d /var/lib/tuco ]; then
	install -d -m 0700 -o tuco -g tuco /var/lib/tuco
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	if [ "$1" = configure ] && [ -z "$2" ] || [ "$1" = 1 ]; then
		systemctl enable tuco.service
		systemctl start tuco.service || echo "tuco does not start: see 'journalctl -u tuco'" >&2
	else
		systemctl try-restart tuco.service || echo "tuco does not start: see 'journalctl -u tuco'" >&2
	fi
elif [ "$1" = configure ] && [ -z "$2" ] || [ "$1" = 1 ]; then
	# An image is being made: the service starts when that boots.
	if command -v systemctl >/dev/null; then
		systemctl enable tuco.service
	fi
fi
