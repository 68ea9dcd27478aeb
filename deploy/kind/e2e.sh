#!/bin/sh
# The end-to-end test on a kind cluster of its own, which is deleted afterwards.
# Without Docker, kind or kubectl it says so and is skipped.
set -eu
python="${1:-python3}"
name="dgdr-e2e"
for tool in docker kind kubectl openssl; do
  if ! command -v "$tool" >/dev/null 2>&1; then
    echo "kind-e2e: SKIPPED, there is no $tool here"
    exit 0
  fi
done
if ! docker info >/dev/null 2>&1; then
  echo "kind-e2e: SKIPPED, no Docker daemon answers"
  exit 0
fi
trap 'kind delete cluster --name "$name"; rm -f "kubeconfig-$name"' EXIT
sh deploy/kind/up.sh "$name"
E2E_KUBECONFIG="$PWD/kubeconfig-$name" "$python" -m pytest -q tests/e2e/test_kubernetes_flow.py
