"""The place of images, which do not exist yet."""
from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

NO_IMAGES = "This package takes no images yet: leave multimodal_params out, or send them to a server (image_data)."


@dataclasses.dataclass
class MultimodalParams:
    """What a prompt comes with besides text, by kind. A request that has it is refused with a sentence."""
    multimodal_data: Mapping[str, Any]
