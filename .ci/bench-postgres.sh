#!/usr/bin/env bash
# `openset bench` with the stores on a PostgreSQL of its own, which waits for its disk as SQLite does. Prints what bench prints.
# Takes the program and its flags.
set -euo pipefail

initdb=$(command -v initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' | tail -n 1)
bin=$(dirname "$(readlink -f "$initdb")")
folder=$(mktemp -d)
account=postgres
id "$account" >/dev/null 2>&1 || account=nobody
chown "$account" "$folder"

as() {
    (cd "$folder" && runuser -u "$account" -- "$@")
}

as "$bin/initdb" --pgdata "$folder/data" --username openset --auth trust --encoding UTF8 --locale C >"$folder/initdb.log"
as "$bin/pg_ctl" start --wait --silent --pgdata "$folder/data" --log "$folder/log" \
    --options "-c listen_addresses='' -c unix_socket_directories='$folder' -c shared_buffers=128MB"
stop() {
    as "$bin/pg_ctl" stop --silent --mode fast --pgdata "$folder/data"
    rm -rf "$folder"
}
trap stop EXIT
for party in ca issuer gateway merchant cardholder; do
    as "$bin/createdb" --host "$folder" --username openset "openset_$party"
done
chmod o+x "$folder"
"$@" --data "$folder/bench" --databases "postgres://openset@localhost/openset_{party}?host=$folder"
