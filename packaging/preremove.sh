#!/bin/sh
# deb: remove, or upgrade; rpm: the number of packages that stay, 0 at the last. An upgrade leaves the server running:
# it is restarted when the new one is there.
set -e
if [ "$1" = remove ] || [ "$1" = 0 ]; then
	if [ -d /run/systemd/system ]; then
		systemctl stop tuco.service tuco.socket
	fi
	if command -v systemctl >/dev/null; then
		systemctl disable tuco.service tuco.socket
	fi
fi
