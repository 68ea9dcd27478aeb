"""``python3 -m dynamo.mocker`` in the image that stands in for Dynamo's."""

import sys

from mocker.dynamo.__main__ import main

main(["mocker", *sys.argv[1:]])
