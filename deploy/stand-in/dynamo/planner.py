"""``python3 -m dynamo.planner`` in the image that stands in for Dynamo's."""

from planner.__main__ import main

main()
