#!/usr/bin/env bash
# Has Envoy finish what it began, so that it can be stopped: `drain.sh [PORT of its admin page] [most SECONDS]`, as a
# preStop hook for instance. Bash alone is needed: Envoy's image has no curl.
set -euo pipefail
port=${1:-8081} seconds=${2:-15}

ask() { # METHOD PATH
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf '%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n' "$1" "$2" >&3
    cat <&3
    exec 3>&-
}

ask POST /healthcheck/fail >/dev/null                         # /health says 503: load balancers look elsewhere
ask POST '/drain_listeners?graceful&skip_exit' >/dev/null     # connections end after their request
for ((waited = 0; waited < seconds; waited++)); do
    ask GET '/stats?filter=^http\.public\.downstream_rq_active$' | grep -q 'downstream_rq_active: 0' && exit
    sleep 1
done
