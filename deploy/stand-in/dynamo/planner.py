"""``python3 -m dynamo.planner`` in the image that stands in for Dynamo's."""

import sys

from planner.__main__ import main

sys.exit(main())
