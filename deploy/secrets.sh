#!/bin/sh
# Makes up the secrets of docker-compose.yml, once: `deploy/secrets.sh` writes .env, which only its owner can read.
set -eu
cd "$(dirname "$0")/.."
if [ -e .env ]; then
    echo "There is a .env already; it stays as it is." >&2
    exit 1
fi
random() { openssl rand -hex 24; }
umask 077
cat > .env.new <<EOF
# What \`docker compose up\` starts: the services behind Envoy. \`docker compose --profile single up\` starts one container.
COMPOSE_PROFILES=split
# The names that the shop answers to, separated by commas; localhost stays among them.
ALLOWED_HOSTS=localhost

SECRET_KEY=$(openssl rand -hex 48)
JWT_PRIVATE_KEY='$(openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 2>/dev/null | awk '{printf "%s\\n", $0}')'
POSTGRES_PASSWORD=$(random)
USERS_DB_PASSWORD=$(random)
PRODUCTS_DB_PASSWORD=$(random)
ORDERS_DB_PASSWORD=$(random)
SHOP_DB_PASSWORD=$(random)
MONGODB_ROOT_PASSWORD=$(random)
MONGODB_PASSWORD=$(random)
MONGODB_KEY=$(random)
REDIS_PASSWORD=$(random)
RABBITMQ_PASSWORD=$(random)
GRAFANA_PASSWORD=$(random)
EOF
mv .env.new .env
echo "Wrote .env. Grafana's log-in is admin with GRAFANA_PASSWORD of that file."
