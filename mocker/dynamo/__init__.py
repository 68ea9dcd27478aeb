"""Stands in for the containers of a deployment: ``python3 -m dynamo.vllm`` and its kin."""
