"""Media in Gemini's contents: images, sound and documents, as data or by URL. Used by `gemini_contents.py`. Pure.

References: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference,
https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-understanding
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from model_serving.proxy.errors import InvalidParameter
from model_serving.proxy.providers.chat import ImagePart, Message, Tool, User, data_url
from model_serving.proxy.providers.features import cannot_express

MEDIA_TYPES = {
    "bmp": "image/bmp", "gif": "image/gif", "heic": "image/heic", "heif": "image/heif", "jpeg": "image/jpeg",
    "jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "pdf": "application/pdf", "txt": "text/plain",
    "aac": "audio/aac", "flac": "audio/flac", "m4a": "audio/m4a", "mp3": "audio/mp3", "ogg": "audio/ogg",
    "wav": "audio/wav", "mov": "video/mov", "mp4": "video/mp4", "mpeg": "video/mpeg", "webm": "video/webm",
}  # fmt: skip
"""By the end of a URL's path: the vendor fetches URLs, but has to be told what they hold."""
RESOLUTIONS = {"low": "MEDIA_RESOLUTION_LOW", "high": "MEDIA_RESOLUTION_HIGH"}
"""By `detail` of an image."""


class Wire(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    """An object of the vendor's API."""


class Blob(Wire):
    """Media in base64."""

    mime_type: str
    data: str


class FileData(Wire):
    """Media that the vendor fetches: `gs://` or a public URL."""

    mime_type: str
    file_uri: str


class Media(Wire):
    """Media of a tool's result."""

    inline_data: Blob | UnsetType = UNSET
    file_data: FileData | UnsetType = UNSET


def resolution_of(messages: Sequence[Message], provider: str) -> str | UnsetType:
    """The resolution that images are looked at with, from their `detail`: one for the whole call. InvalidParameter."""
    found: str | UnsetType = UNSET
    for field, image in _images(messages):
        if image.image_url.detail in (None, "auto"):
            continue
        told = RESOLUTIONS.get(image.image_url.detail or "")
        if told is None or found not in (UNSET, told):
            raise cannot_express(f"{field}.image_url.detail", provider, "send low or high, the same for all images")
        found = told
    return found


def _images(messages: Sequence[Message]) -> Iterator[tuple[str, ImagePart]]:
    for number, message in enumerate(messages):
        if isinstance(message, User | Tool) and not isinstance(message.content, str):
            for place, part in enumerate(message.content):
                if isinstance(part, ImagePart):
                    yield f"messages[{number}].content[{place}]", part


def media_of(url: str, field: str) -> Media:
    """A `data:` URL's content, or a URL with its media type. InvalidParameter."""
    try:
        data = data_url(url)
    except ValueError as error:
        raise InvalidParameter(f"{field}: {error}", parameter=field) from None
    if data is not None:
        if not data[0]:
            raise InvalidParameter(f"{field}: the data: URL must name its media type", parameter=field)
        return Media(inline_data=Blob(*data))
    if not url.startswith(("https://", "http://", "gs://")):
        raise InvalidParameter(f"{field} must be a data:, https: or gs: URL", parameter=field)
    ending = re.split(r"[?#]", url, maxsplit=1)[0].rpartition(".")[2].lower()
    if ending not in MEDIA_TYPES:
        known = ", ".join(MEDIA_TYPES)
        message = (
            f"{field}: the URL does not tell its media type: let its path end in one of {known}, or send a data: URL"
        )
        raise InvalidParameter(message, parameter=field)
    return Media(file_data=FileData(MEDIA_TYPES[ending], url))
