#!/bin/sh
# Gives the services of the overlay `split` their tokens for each other, as the secret cartwright-tokens; again before a
# year is over, after which the services are restarted. It needs what `kubectl apply -k deploy/k8s/overlays/split` has made,
# and its migrations applied.
set -eu
namespace=cartwright
token() {
    name=$1
    shift
    kubectl --namespace "$namespace" get job cartwright-migrate-users --output json \
        | python3 -c '
import json, sys
job = json.load(sys.stdin)
spec = job["spec"]["template"]["spec"]
spec["restartPolicy"] = "Never"
spec["containers"][0]["args"] = ["issue_service_token", *sys.argv[2:]]
labels = {name: job["spec"]["template"]["metadata"]["labels"][name] for name in ("app.kubernetes.io/name", "app.kubernetes.io/part-of")}
print(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": sys.argv[1], "labels": labels}, "spec": spec}))
' "token-$name" "$name service" --replace --scope "$@" \
        | kubectl --namespace "$namespace" apply --filename - >&2
    kubectl --namespace "$namespace" wait --for=jsonpath='{.status.phase}'=Succeeded --timeout=120s "pod/token-$name" >&2
    # The other line is the token's number, on standard error.
    kubectl --namespace "$namespace" logs "token-$name" | grep -E '^eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$'
    kubectl --namespace "$namespace" delete pod "token-$name" >&2
}
users=$(token users events)
products=$(token products tokens:read events)
orders=$(token orders tokens:read users:read products:read stock:write events)
kubectl --namespace "$namespace" create secret generic cartwright-tokens --dry-run=client --output yaml \
    --from-literal=users="$users" --from-literal=products="$products" --from-literal=orders="$orders" \
    | kubectl apply --filename -
