#!/bin/sh
# Makes a certificate for the webhooks of conversion and admission, stores it as a secret,
# tells the CRDs to trust it, and has every new request checked by the operator. Needs
# openssl and kubectl; run it once after kubectl apply -k deploy/base.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
namespace="${1:-dgdr-system}"
host="dgdr-operator-webhook.${namespace}.svc"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=${host}" \
  -addext "subjectAltName=DNS:${host}" \
  -keyout "$folder/tls.key" -out "$folder/tls.crt" 2>/dev/null
kubectl create secret tls dgdr-operator-webhook-cert --namespace "$namespace" \
  --cert "$folder/tls.crt" --key "$folder/tls.key" --dry-run=client -o yaml | kubectl apply -f -
bundle="$(base64 <"$folder/tls.crt" | tr -d '\n')"
for plural in dynamographdeploymentrequests dynamographdeployments \
  dynamographdeploymentscalingadapters; do
  kubectl patch crd "${plural}.nvidia.com" --type=merge -p \
    "{\"spec\":{\"conversion\":{\"webhook\":{\"clientConfig\":{\"caBundle\":\"${bundle}\"}}}}}"
done
kubectl rollout restart deployment/dgdr-operator --namespace "$namespace"
kubectl rollout status deployment/dgdr-operator --namespace "$namespace" --timeout=180s
# Last, because from now on the API server asks the operator before it stores a request.
for kind in mutating validating; do
  kubectl patch --local -f "$here/../webhooks/$kind.yaml" --type=json -o yaml -p \
    "[{\"op\":\"add\",\"path\":\"/webhooks/0/clientConfig/caBundle\",\"value\":\"${bundle}\"}]" |
    kubectl apply -f -
done
