#!/bin/sh
# A kind cluster whose workers claim eight H200 each, with the operator in it.
# Needs kind, docker, kubectl and openssl; run it from the root of the repository.
set -eu
name="${1:-dgdr}"
config="$(mktemp)"
trap 'rm -f "$config"' EXIT
kind create cluster --name "$name" --kubeconfig "$config" --config deploy/kind/cluster.yaml --wait 120s
export KUBECONFIG="$config"
for node in $(kubectl get nodes -l '!node-role.kubernetes.io/control-plane' -o name); do
  kubectl label "$node" nvidia.com/gpu.count=8 nvidia.com/gpu.product=NVIDIA-H200 \
    nvidia.com/gpu.memory=143771
  for list in capacity allocatable; do
    kubectl patch "$node" --subresource=status --type=json \
      -p "[{\"op\":\"add\",\"path\":\"/status/$list/nvidia.com~1gpu\",\"value\":\"8\"}]"
  done
done
docker build -f deploy/Dockerfile -t dgdr-rehearsal:0.1.0 .
# The same image under the names that scenarios/dgdr/kubernetes leads to.
images="dgdr-rehearsal:0.1.0"
for image in dynamo-planner vllm-runtime sglang-runtime tensorrtllm-runtime; do
  docker tag dgdr-rehearsal:0.1.0 "ai-dynamo/$image:1.2.1"
  images="$images ai-dynamo/$image:1.2.1"
done
# shellcheck disable=SC2086  # a list of words
kind load docker-image $images --name "$name"
kubectl apply -k deploy/base
sh deploy/certs/make-webhook-cert.sh
kubectl rollout status deployment/dgdr-operator --namespace dgdr-system --timeout=180s
cp "$config" "./kubeconfig-$name"
echo "export KUBECONFIG=$PWD/kubeconfig-$name"
