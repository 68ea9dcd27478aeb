"""``python3 -m dynamo.profiler`` in the image that stands in for Dynamo's."""

import sys

from profiler.__main__ import main

sys.exit(main())
