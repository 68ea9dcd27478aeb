"""``python3 -m dynamo.vllm`` in the image that stands in for Dynamo's."""

import sys

from mocker.dynamo.__main__ import main

main(["vllm", *sys.argv[1:]])
