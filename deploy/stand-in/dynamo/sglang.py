"""``python3 -m dynamo.sglang`` in the image that stands in for Dynamo's."""

import sys

from mocker.dynamo.__main__ import main

main(["sglang", *sys.argv[1:]])
