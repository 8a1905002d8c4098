#!/bin/sh
# The data stays, with purge too: no package manager may remove what customers' messages are in. /var/lib/tuco is removed by hand.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
if [ "$1" = purge ] && [ -d /var/lib/tuco ]; then
	echo "The data in /var/lib/tuco stays. Remove it by hand if it is not needed any more." >&2
fi
