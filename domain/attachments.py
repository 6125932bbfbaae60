"""What is said of a file: attachments, inline images, avatars, recordings. What the file holds comes another way."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from domain.fact import Line, Record, Text, UpstreamId
from domain.personal import Category, Clear, Kind, Names, Personal


class AttachmentFields(Record):
    """A file, as upstream describes it. What it holds comes along another way, under a key of its own."""

    id: Annotated[UpstreamId, Names("part", Kind.ATTACHMENT)] = Field(repr=False)
    name: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    content_type: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    size: Annotated[int | None, Field(ge=0, lt=2**63), Personal(Category.CONTENT)] = Field(default=None, repr=False)
    attachment_url: Annotated[Text | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    inline: Annotated[bool | None, Clear("flag")] = None
