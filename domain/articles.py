"""Facts of articles, and of the categories and folders in which they stand. They belong to the desk.

Who wrote an article is an inside id in the clear; shredding the agent leaves the article, anonymous.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from domain.attachments import AttachmentFields
from domain.companies import People
from domain.contacts import Tags
from domain.fact import Effect, Line, Record, Text, UpstreamId
from domain.forums import Count
from domain.personal import Category, Clear, Kind, Names, Personal, Word
from domain.tickets import Code


class ArticleCategoryFields(Record):
    """A category of articles."""

    THING: ClassVar[str] = "article_category"

    id: Annotated[UpstreamId | None, Names("self", Kind.ARTICLE_CATEGORY)] = Field(default=None, repr=False)
    name: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    description: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)


class ArticleCategoryPosted(ArticleCategoryFields):
    """A category of articles was made."""

    TYPE: ClassVar[str] = "sealdesk.article_category.posted.v1"
    OPENS: ClassVar[bool] = True


class ArticleCategoryEdited(ArticleCategoryFields):
    """A category of articles was described anew."""

    TYPE: ClassVar[str] = "sealdesk.article_category.edited.v1"
    EFFECT: ClassVar[Effect | None] = Effect.REWRITES


class ArticleCategoryDeleted(Record):
    """A category of articles went, with everything in it."""

    TYPE: ClassVar[str] = "sealdesk.article_category.deleted.v1"
    THING: ClassVar[str] = "article_category"
    EFFECT: ClassVar[Effect | None] = Effect.ENDS

    id: Annotated[UpstreamId | None, Names("self", Kind.ARTICLE_CATEGORY)] = Field(default=None, repr=False)


class ArticleFolderFields(Record):
    """A folder of articles."""

    THING: ClassVar[str] = "article_folder"

    id: Annotated[UpstreamId | None, Names("self", Kind.ARTICLE_FOLDER)] = Field(default=None, repr=False)
    category_id: Annotated[UpstreamId | None, Names("parent", Kind.ARTICLE_CATEGORY)] = Field(default=None, repr=False)
    parent_folder_id: Annotated[UpstreamId | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    name: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    description: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    company_ids: Annotated[People | None, Personal(Category.CIRCUMSTANCES)] = Field(default=None, repr=False)
    visibility: Annotated[Code | None, Word("visibility", "visibility")] = None


class ArticleFolderPosted(ArticleFolderFields):
    """A folder of articles was made."""

    TYPE: ClassVar[str] = "sealdesk.article_folder.posted.v1"
    OPENS: ClassVar[bool] = True


class ArticleFolderEdited(ArticleFolderFields):
    """A folder of articles was described anew, or moved."""

    TYPE: ClassVar[str] = "sealdesk.article_folder.edited.v1"
    EFFECT: ClassVar[Effect | None] = Effect.REWRITES


class ArticleFolderDeleted(Record):
    """A folder of articles went, with everything in it."""

    TYPE: ClassVar[str] = "sealdesk.article_folder.deleted.v1"
    THING: ClassVar[str] = "article_folder"
    EFFECT: ClassVar[Effect | None] = Effect.ENDS

    id: Annotated[UpstreamId | None, Names("self", Kind.ARTICLE_FOLDER)] = Field(default=None, repr=False)


class ArticleFields(Record):
    """An article, whole or in part."""

    THING: ClassVar[str] = "article"
    TEAM: ClassVar[bool] = True

    id: Annotated[UpstreamId | None, Names("self", Kind.ARTICLE)] = Field(default=None, repr=False)
    folder_id: Annotated[UpstreamId | None, Names("parent", Kind.ARTICLE_FOLDER)] = Field(default=None, repr=False)
    category_id: Annotated[UpstreamId | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    agent_id: Annotated[UpstreamId | None, Names("author", Kind.PERSON)] = Field(default=None, repr=False)
    title: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    description: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    description_text: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    seo_data: Annotated[dict[str, Any] | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    tags: Annotated[Tags | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    type: Annotated[Code | None, Word("article_type", "article_type")] = None
    status: Annotated[Code | None, Word("article_status", "article_status")] = None
    thumbs_up: Annotated[Count | None, Clear("number")] = None
    thumbs_down: Annotated[Count | None, Clear("number")] = None
    hits: Annotated[Count | None, Clear("number")] = None
    suggested: Annotated[Count | None, Clear("number")] = None
    feedback_count: Annotated[Count | None, Clear("number")] = None


class ArticleDrafted(ArticleFields):
    """An article was begun."""

    TYPE: ClassVar[str] = "sealdesk.article.drafted.v1"
    OPENS: ClassVar[bool] = True


class ArticlePublished(ArticleFields):
    """An article was published, as it was drafted or as the record says. An earlier text can never be read again."""

    TYPE: ClassVar[str] = "sealdesk.article.published.v1"
    OPENS: ClassVar[bool] = True
    EFFECT: ClassVar[Effect | None] = Effect.REWRITES


class ArticleEdited(ArticleFields):
    """An article was written anew. What it said before can never be read again; what is not given stays."""

    TYPE: ClassVar[str] = "sealdesk.article.edited.v1"
    EFFECT: ClassVar[Effect | None] = Effect.REWRITES


class ArticleDeleted(Record):
    """An article was deleted. It can never be read again."""

    TYPE: ClassVar[str] = "sealdesk.article.deleted.v1"
    THING: ClassVar[str] = "article"
    EFFECT: ClassVar[Effect | None] = Effect.ENDS

    id: Annotated[UpstreamId | None, Names("self", Kind.ARTICLE)] = Field(default=None, repr=False)


class ArticleAttachmentAdded(AttachmentFields):
    """A file came with an article."""

    TYPE: ClassVar[str] = "sealdesk.article.attachment_added.v1"
    THING: ClassVar[str] = "article"
    BLOB: ClassVar[bool] = True

    article_id: Annotated[UpstreamId | None, Names("self", Kind.ARTICLE)] = Field(default=None, repr=False)
