"""``python3 -m dynamo.profiler`` in the image that stands in for Dynamo's."""

from profiler.__main__ import main

main()
