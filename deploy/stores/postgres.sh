#!/bin/sh
# A database for each service, and one for the shop in one container; each with a user of its own. The PostgreSQL image
# runs this once, when its volume is empty.
set -eu
for name in users products orders cartwright; do
    case $name in
        users) password=$USERS_DB_PASSWORD ;;
        products) password=$PRODUCTS_DB_PASSWORD ;;
        orders) password=$ORDERS_DB_PASSWORD ;;
        cartwright) password=$SHOP_DB_PASSWORD ;;
    esac
    psql --username "$POSTGRES_USER" --dbname postgres --set ON_ERROR_STOP=1 --set name="$name" --set password="$password" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
done
