#!/usr/bin/env bash
# with-postgres.sh [--] CMD [ARG…]: runs CMD with a throw-away PostgreSQL.
#
# Finds PostgreSQL or, as root where apt-get exists, installs it; starts a
# cluster of its own in a private directory, reachable by a Unix socket there
# alone; exports TELLHOOK_TEST_DATABASE_URL (a superuser's) for CMD; stops and
# removes the cluster when CMD ends or a signal comes. Exits with CMD's code.
set -euo pipefail

die() {
	echo "with-postgres.sh: $*" >&2
	exit 1
}

[ "${1-}" = -- ] && shift
[ $# -gt 0 ] || {
	echo "usage: with-postgres.sh [--] CMD [ARG…]" >&2
	exit 2
}

# bindir answers the directory of the newest initdb, or nothing.
bindir() {
	local found
	found=$(ls -d /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb \
		/opt/homebrew/opt/postgresql@*/bin/initdb /usr/local/opt/postgresql@*/bin/initdb \
		2>/dev/null | sort -V | tail -n 1) || true
	[ -n "$found" ] || found=$(command -v initdb) || true
	[ -z "$found" ] || dirname "$found"
}

# install_postgresql uses apt-get, and keeps Debian's package from making and
# starting a cluster of its own.
install_postgresql() {
	local advice="install PostgreSQL 14 or later (Debian, Ubuntu: apt-get install postgresql) so that initdb and postgres can be found, then run this again"
	command -v apt-get >/dev/null || die "PostgreSQL is not installed and this system has no apt-get: $advice"
	[ "$(id -u)" = 0 ] || die "PostgreSQL is not installed and installing it needs root: $advice"
	echo "with-postgres.sh: installing PostgreSQL with apt-get" >&2
	local veto=/etc/postgresql-common/createcluster.d/tellhook-tests.conf
	mkdir -p "${veto%/*}"
	echo "create_main_cluster = false" >"$veto"
	local ok=true
	{
		export DEBIAN_FRONTEND=noninteractive
		apt-get update && apt-get install -y --no-install-recommends postgresql
	} >&2 || ok=false
	rm -f "$veto"
	rmdir "${veto%/*}" 2>/dev/null || true # only if it is empty
	$ok || die "apt-get could not install PostgreSQL (its words are above): $advice"
}

bin=$(bindir)
if [ -z "$bin" ]; then
	install_postgresql
	bin=$(bindir)
	[ -n "$bin" ] || die "PostgreSQL was installed, but no initdb can be found under /usr/lib/postgresql"
fi

# Not under TMPDIR: the path of a Unix socket must stay below 104 bytes.
dir=$(mktemp -d /tmp/tellhook-pg.XXXXXX)

# PostgreSQL refuses to run as root: the cluster is another user's then.
as_owner() { (cd "$dir" && "$@"); }
if [ "$(id -u)" = 0 ]; then
	owner=postgres
	id "$owner" >/dev/null 2>&1 || owner=nobody
	chown "$owner" "$dir"
	if command -v setpriv >/dev/null; then
		as_owner() { (cd "$dir" && setpriv --reuid="$owner" --regid="$(id -g "$owner")" --clear-groups -- "$@"); }
	elif command -v runuser >/dev/null; then
		as_owner() { (cd "$dir" && runuser -u "$owner" -- "$@"); }
	else
		rmdir "$dir"
		die "PostgreSQL does not run as root, and neither setpriv nor runuser (package util-linux) is here to run it as $owner"
	fi
fi

child=
cleanup() {
	trap '' HUP INT TERM # a second Ctrl-C must not leave the cluster behind
	[ ! -f "$dir/data/postmaster.pid" ] || as_owner "$bin/pg_ctl" stop -D "$dir/data" -m immediate -s >&2 || true
	rm -rf "$dir"
}
# forward hands a signal on to CMD, waits for its end and leaves with the
# signal's exit code.
forward() {
	if [ -n "$child" ]; then
		kill -s "$1" "$child" 2>/dev/null || true
		wait "$child" || true
	fi
	exit $((128 + $2))
}
trap cleanup EXIT
trap 'forward HUP 1' HUP
trap 'forward INT 2' INT
trap 'forward TERM 15' TERM

# The directory is its owner's alone (mode 0700), so nobody else reaches the
# socket and a password would guard nothing.
as_owner "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-locale >"$dir/initdb.log" 2>&1 || {
	cat "$dir/initdb.log" >&2
	die "initdb failed: its words are above"
}
cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$dir'
max_connections = 300
fsync = on
synchronous_commit = on
CONF
as_owner "$bin/pg_ctl" start -D "$dir/data" -l "$dir/server.log" -w -t 60 -s >&2 || {
	cat "$dir/server.log" >&2 || true
	die "PostgreSQL did not start: its log is above"
}

export TELLHOOK_TEST_DATABASE_URL="postgres://postgres@/postgres?host=$dir"

# In the background, because bash runs a trap only when a foreground command has
# ended. A background command has SIGINT ignored and no stdin: undo both.
exec 3<&0
(
	trap - HUP INT TERM
	exec "$@" 0<&3 3<&-
) &
child=$!
code=0
wait "$child" || code=$?
exit "$code"
