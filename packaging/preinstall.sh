#!/bin/sh
# The user that the server runs as. It stays when the package goes: files are its.
set -e
if ! getent group tuco >/dev/null; then
	groupadd --system tuco
fi
if ! getent passwd tuco >/dev/null; then
	useradd --system --gid tuco --home-dir /var/lib/tuco --no-create-home --shell /usr/sbin/nologin tuco
fi
