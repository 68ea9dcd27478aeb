"""``python3 -m dynamo.trtllm`` in the image that stands in for Dynamo's."""

import sys

from mocker.dynamo.__main__ import main

main(["trtllm", *sys.argv[1:]])
