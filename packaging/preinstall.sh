#!/bin/sh
# The user that the server runs as. It stays when the package goes: files are its.
set -e
if ! getent group tuco >/dev/null; then
	groupadd --system tuco
fi
if ! getent passwd tuco >/dev/null; then
	useradd --system --gid tuco --home-dir /var/lib/tuco --no-create-home --shell /usr/sbin/nologin tuco
fi
# Tells an installation from an upgrade, also where an older one was removed and its configuration stayed.
if [ "$1" = install ] || [ "$1" = 1 ]; then
	touch /run/tuco.installing
fi
