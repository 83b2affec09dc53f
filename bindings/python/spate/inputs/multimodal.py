"""Images beside a prompt."""
from __future__ import annotations

import ctypes
import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

from spate import _library
from spate.errors import InvalidError, UnsupportedError

FILE_MOST = 20 << 20  # LIMIT_IMAGE_BYTES: one byte more, and the library refuses it


@dataclasses.dataclass
class MultimodalParams:
    """What a prompt comes with besides text, by kind: {"image": IMAGE}, or a list of them. <image> marks in the prompt say
    where, one for each; without any they go in front. An image is

    - the bytes of a JPEG, PNG or WebP file;
    - an os.PathLike, such as pathlib.Path: a file of one;
    - a str: a data: URL, or base64 alone, as `image_data` over HTTP has it. It is never a path or an address, so that
      what a client sent may be passed on as it is;
    - an image of PIL."""
    multimodal_data: Mapping[str, Any]

    def images(self) -> list[_library.Image]:
        """What they point to they keep."""
        kinds = [kind for kind in self.multimodal_data if kind != "image"]
        if kinds:
            raise UnsupportedError(f'multimodal_data has "{kinds[0]}"; there is "image" alone.')
        given = self.multimodal_data.get("image", ())
        return [image_of(one) for one in (given if isinstance(given, (list, tuple)) else [given])]


def image_of(image: object) -> _library.Image:
    if isinstance(image, str):
        try:
            data = image.encode()
        except UnicodeEncodeError:
            raise InvalidError("The image is a text that is no base64: it has a lone surrogate.") from None
        return _library.Image(data=data, size=len(data), is_text=True)
    if isinstance(image, (bytes, bytearray, memoryview)):
        data = bytes(image)
    elif isinstance(image, os.PathLike):
        with open(image, "rb") as file:
            data = file.read(FILE_MOST + 1)
    elif callable(getattr(image, "convert", None)) and callable(getattr(image, "save", None)):
        data = png_of(image)
    else:
        raise InvalidError(f"The image is of type {type(image).__name__}, expected the bytes of a file, a pathlib.Path, a "
                           "data: URL, base64, or an image of PIL.")
    return _library.Image(data=data, size=len(data))


def png_of(image: Any) -> bytes:
    """The pixels that an image of PIL has, and nothing of the file that it came from."""
    plain = image.convert("RGB")
    plain.info = {}
    file = io.BytesIO()
    plain.save(file, "PNG", compress_level=1)
    return file.getvalue()


def images_array(params: MultimodalParams | None) -> ctypes.Array[_library.Image] | None:
    images = params.images() if params is not None else []
    return (_library.Image * len(images))(*images) if images else None


def multimodal_of_each(params: MultimodalParams | Sequence[MultimodalParams | None] | None,
                       count: int) -> Sequence[MultimodalParams | None]:
    if params is None or isinstance(params, MultimodalParams):
        return [params] * count
    if len(params) != count:
        raise InvalidError(f"There are {count} prompts and {len(params)} multimodal_params; expected one for each, or one "
                           "for all.")
    return params
