"""Container images of the components, derived from the image of the request."""

from __future__ import annotations

import re

from dgdr.enums import ServingBackend

PLANNER_IMAGE = "dynamo-planner"
_RUNTIME_IMAGES = {
    ServingBackend.VLLM: "vllm-runtime",
    ServingBackend.SGLANG: "sglang-runtime",
    ServingBackend.TRTLLM: "tensorrtllm-runtime",
}


def sibling_image(image: str, name: str) -> str:
    """The image of another name beside this one: registry, tag and digest stay."""
    head, slash, last = image.rpartition("/")
    return head + slash + re.sub(r"^[^:@]*", name, last)


def worker_image(image: str, backend: ServingBackend, *, mocker: bool) -> str:
    """The image of workers and frontend; the mocker is part of the given image."""
    return image if mocker else sibling_image(image, _RUNTIME_IMAGES[backend])


def image_version(text: str) -> tuple[int, int, int] | None:
    """MAJOR.MINOR.PATCH of an image tag or of a version by itself; None without one."""
    tag = text.partition("@")[0].rpartition("/")[2].rpartition(":")[2]
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", tag)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
