"""The place of images, which do not exist yet."""
from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

NO_IMAGES = "Images do not exist yet: leave multimodal_params out and send text alone."


@dataclasses.dataclass
class MultimodalParams:
    """What a prompt comes with besides text, by kind. A request that has it is refused with a sentence."""
    multimodal_data: Mapping[str, Any]
