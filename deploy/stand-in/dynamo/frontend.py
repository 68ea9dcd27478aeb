"""``python3 -m dynamo.frontend`` in the image that stands in for Dynamo's."""

import sys

from mocker.dynamo.__main__ import main

main(["frontend", *sys.argv[1:]])
