#!/usr/bin/env bash
# Copies the rows of a shop on one PostgreSQL database to a database for each service.
#
#   deploy/split_database.sh ONE_URL USERS_URL PRODUCTS_URL ORDERS_URL
#
# Nothing of the shop may run meanwhile, and `manage.py migrate_all` has made the tables of the three. What they hold is
# replaced; the one is only read. docs/splitting.md has the steps before and after. Needs psql and pg_dump.
set -euo pipefail

[ $# -eq 4 ] || { sed -n '4p' "$0" | cut -c5- >&2; exit 2; }
one=$1
declare -A url=([users]=$2 [products]=$3 [orders]=$4)

run() { PGOPTIONS="${PGOPTIONS:-} -c client_min_messages=warning" psql --quiet --no-psqlrc --tuples-only --set ON_ERROR_STOP=1 "$@"; }

# The same database under two names would be emptied.
place_of() { run "$1" --no-align --command "SELECT system_identifier || '/' || current_database() FROM pg_control_system()"; }
places=$(for each in "$@"; do place_of "$each"; done)
[ "$(sort -u <<<"$places" | wc -l)" -eq 4 ] || {
  echo "The four must be four databases: what the three hold is replaced. Nothing was changed." >&2
  exit 2
}

# Foreign keys are checked when all rows are there: they are deferred, and this is one transaction.
copy_tables() { # SERVICE TABLE...
  local tables=()
  for table in "${@:2}"; do tables+=(--table "$table"); done
  pg_dump --data-only "${tables[@]}" "$one" |
    run --single-transaction "${url[$1]}" >/dev/null
}

copy_rows() { # SERVICE TABLE CONDITION
  run "$one" --command "\copy (SELECT * FROM $2 WHERE $3) TO STDOUT" |
    run "${url[$1]}" --command "\copy $2 FROM STDIN"
}

for service in users products orders; do
  echo "$service"
  run "${url[$service]}" --command "DO \$\$ BEGIN EXECUTE (
    SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') || ' CASCADE' FROM pg_tables
    WHERE schemaname = 'public' AND tablename <> 'django_migrations'
  ); END \$\$"
  copy_tables "$service" "${service}_*"
  copy_rows "$service" events_outboxevent "source = '$service'"
  for table in events_inboxentry events_inboxposition events_faileddelivery; do
    copy_rows "$service" $table "starts_with(consumer, '$service.')"
  done
  copy_rows "$service" events_pendingexport \
    "event_id IN (SELECT id FROM events_outboxevent WHERE source = '$service')"
  # Numbers go on after the last of those that were copied.
  for table in events_inboxentry events_inboxposition events_pendingexport; do
    run "${url[$service]}" --command \
      "SELECT setval(pg_get_serial_sequence('$table', 'id'), coalesce(max(id), 0) + 1, false) FROM $table" >/dev/null
  done
done
copy_tables users django_content_type auth_permission django_session django_admin_log
copy_tables orders events_webhookendpoint events_webhookdelivery common_idempotencykey
