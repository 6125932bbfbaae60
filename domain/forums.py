"""Facts of forums. A topic or comment belongs to its author; what an agent posts, and the shelves, to the desk.

A vote names its voter by an inside id and has no text.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from domain.attachments import AttachmentFields
from domain.companies import People
from domain.fact import Effect, Line, Moment, Record, Text, UpstreamId
from domain.personal import Category, Clear, Kind, Names, Personal, Role, Word
from domain.tickets import Code

Count = Annotated[int, Field(ge=-(2**31), lt=2**31)]


class CategoryFields(Record):
    """A category of forums."""

    THING: ClassVar[str] = "category"

    id: Annotated[UpstreamId | None, Names("self", Kind.CATEGORY)] = Field(default=None, repr=False)
    name: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    description: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)


class CategoryPosted(CategoryFields):
    """A category of forums was made."""

    TYPE: ClassVar[str] = "sealdesk.category.posted.v1"
    OPENS: ClassVar[bool] = True


class CategoryEdited(CategoryFields):
    """A category of forums was described anew."""

    TYPE: ClassVar[str] = "sealdesk.category.edited.v1"
    EFFECT: ClassVar[Effect | None] = Effect.REWRITES


class CategoryDeleted(Record):
    """A category went, with every forum in it."""

    TYPE: ClassVar[str] = "sealdesk.category.deleted.v1"
    THING: ClassVar[str] = "category"
    EFFECT: ClassVar[Effect | None] = Effect.ENDS

    id: Annotated[UpstreamId | None, Names("self", Kind.CATEGORY)] = Field(default=None, repr=False)


class ForumFields(Record):
    """A forum."""

    THING: ClassVar[str] = "forum"

    id: Annotated[UpstreamId | None, Names("self", Kind.FORUM)] = Field(default=None, repr=False)
    forum_category_id: Annotated[UpstreamId | None, Names("parent", Kind.CATEGORY)] = Field(default=None, repr=False)
    name: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    description: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    company_ids: Annotated[People | None, Personal(Category.CIRCUMSTANCES)] = Field(default=None, repr=False)
    forum_type: Annotated[Code | None, Word("forum_type", "forum_type")] = None
    forum_visibility: Annotated[Code | None, Word("visibility", "visibility")] = None
    position: Annotated[Count | None, Clear("number")] = None
    topics_count: Annotated[Count | None, Clear("number")] = None
    comments_count: Annotated[Count | None, Clear("number")] = None


class ForumPosted(ForumFields):
    """A forum was opened."""

    TYPE: ClassVar[str] = "sealdesk.forum.posted.v1"
    OPENS: ClassVar[bool] = True


class ForumEdited(ForumFields):
    """A forum was described anew."""

    TYPE: ClassVar[str] = "sealdesk.forum.edited.v1"
    EFFECT: ClassVar[Effect | None] = Effect.REWRITES


class ForumMoved(Record):
    """A forum went to another category."""

    TYPE: ClassVar[str] = "sealdesk.forum.moved.v1"
    THING: ClassVar[str] = "forum"

    id: Annotated[UpstreamId | None, Names("self", Kind.FORUM)] = Field(default=None, repr=False)
    forum_category_id: Annotated[UpstreamId, Names("parent", Kind.CATEGORY)] = Field(repr=False)


class ForumDeleted(Record):
    """A forum went, with everything that was posted in it."""

    TYPE: ClassVar[str] = "sealdesk.forum.deleted.v1"
    THING: ClassVar[str] = "forum"
    EFFECT: ClassVar[Effect | None] = Effect.ENDS

    id: Annotated[UpstreamId | None, Names("self", Kind.FORUM)] = Field(default=None, repr=False)


class TopicFields(Record):
    """A topic of a forum."""

    THING: ClassVar[str] = "topic"

    id: Annotated[UpstreamId | None, Names("self", Kind.TOPIC)] = Field(default=None, repr=False)
    forum_id: Annotated[UpstreamId | None, Names("parent", Kind.FORUM)] = Field(default=None, repr=False)
    user_id: Annotated[UpstreamId | None, Names("author", Kind.PERSON)] = Field(default=None, repr=False)
    title: Annotated[Line | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    message: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    replied_by: Annotated[UpstreamId | None, Names("named", Kind.PERSON)] = Field(default=None, repr=False)
    merged_topic_id: Annotated[UpstreamId | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    locked: Annotated[bool | None, Clear("flag")] = None
    sticky: Annotated[bool | None, Clear("flag")] = None
    published: Annotated[bool | None, Clear("flag")] = None
    stamp_type: Annotated[Count | None, Clear("number")] = None
    user_votes: Annotated[Count | None, Clear("number")] = None
    comments_count: Annotated[Count | None, Clear("number")] = None
    hits: Annotated[Count | None, Clear("number")] = None
    replied_at: Annotated[Moment | None, Clear("time")] = None


class TopicPosted(TopicFields):
    """Somebody began a topic."""

    TYPE: ClassVar[str] = "sealdesk.topic.posted.v1"
    OPENS: ClassVar[bool] = True
    WHOSE: ClassVar[Role | None] = "author"


class TopicEdited(TopicFields):
    """A topic was written anew. What it said before can never be read again; what is not given stays."""

    TYPE: ClassVar[str] = "sealdesk.topic.edited.v1"
    EFFECT: ClassVar[Effect | None] = Effect.REWRITES


class TopicMoved(Record):
    """A topic went to another forum."""

    TYPE: ClassVar[str] = "sealdesk.topic.moved.v1"
    THING: ClassVar[str] = "topic"

    id: Annotated[UpstreamId | None, Names("self", Kind.TOPIC)] = Field(default=None, repr=False)
    forum_id: Annotated[UpstreamId, Names("parent", Kind.FORUM)] = Field(repr=False)


class TopicLocked(Record):
    """A topic takes no more comments, or takes them again."""

    TYPE: ClassVar[str] = "sealdesk.topic.locked.v1"
    THING: ClassVar[str] = "topic"

    id: Annotated[UpstreamId | None, Names("self", Kind.TOPIC)] = Field(default=None, repr=False)
    locked: Annotated[bool, Clear("flag")]


class TopicVoted(Record):
    """Somebody voted for a topic: 1 for it, -1 against it or taken back."""

    TYPE: ClassVar[str] = "sealdesk.topic.voted.v1"
    THING: ClassVar[str] = "topic"

    id: Annotated[UpstreamId | None, Names("self", Kind.TOPIC)] = Field(default=None, repr=False)
    user_id: Annotated[UpstreamId | None, Names("voter", Kind.PERSON)] = Field(default=None, repr=False)
    vote: Annotated[int, Field(ge=-1, le=1), Clear("number")]


class TopicDeleted(Record):
    """A topic went, with every comment on it. It can never be read again."""

    TYPE: ClassVar[str] = "sealdesk.topic.deleted.v1"
    THING: ClassVar[str] = "topic"
    EFFECT: ClassVar[Effect | None] = Effect.ENDS

    id: Annotated[UpstreamId | None, Names("self", Kind.TOPIC)] = Field(default=None, repr=False)


class TopicAttachmentAdded(AttachmentFields):
    """A file came with a topic."""

    TYPE: ClassVar[str] = "sealdesk.topic.attachment_added.v1"
    THING: ClassVar[str] = "topic"
    BLOB: ClassVar[bool] = True

    topic_id: Annotated[UpstreamId | None, Names("self", Kind.TOPIC)] = Field(default=None, repr=False)


class CommentFields(Record):
    """A comment on a topic."""

    THING: ClassVar[str] = "comment"

    id: Annotated[UpstreamId | None, Names("self", Kind.COMMENT)] = Field(default=None, repr=False)
    topic_id: Annotated[UpstreamId | None, Names("parent", Kind.TOPIC)] = Field(default=None, repr=False)
    forum_id: Annotated[UpstreamId | None, Personal(Category.CONTENT)] = Field(default=None, repr=False)
    user_id: Annotated[UpstreamId | None, Names("author", Kind.PERSON)] = Field(default=None, repr=False)
    body: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    body_text: Annotated[Text | None, Personal(Category.CONTENT, spans=True)] = Field(default=None, repr=False)
    answer: Annotated[bool | None, Clear("flag")] = None
    published: Annotated[bool | None, Clear("flag")] = None
    spam: Annotated[bool | None, Clear("flag")] = None
    trash: Annotated[bool | None, Clear("flag")] = None


class CommentPosted(CommentFields):
    """Somebody commented on a topic."""

    TYPE: ClassVar[str] = "sealdesk.comment.posted.v1"
    OPENS: ClassVar[bool] = True
    WHOSE: ClassVar[Role | None] = "author"


class CommentEdited(CommentFields):
    """A comment was written anew. What it said before can never be read again; what is not given stays."""

    TYPE: ClassVar[str] = "sealdesk.comment.edited.v1"
    EFFECT: ClassVar[Effect | None] = Effect.REWRITES


class CommentVoted(Record):
    """Somebody voted for a comment: 1 for it, -1 against it or taken back."""

    TYPE: ClassVar[str] = "sealdesk.comment.voted.v1"
    THING: ClassVar[str] = "comment"

    id: Annotated[UpstreamId | None, Names("self", Kind.COMMENT)] = Field(default=None, repr=False)
    user_id: Annotated[UpstreamId | None, Names("voter", Kind.PERSON)] = Field(default=None, repr=False)
    vote: Annotated[int, Field(ge=-1, le=1), Clear("number")]


class CommentDeleted(Record):
    """A comment was deleted. It can never be read again."""

    TYPE: ClassVar[str] = "sealdesk.comment.deleted.v1"
    THING: ClassVar[str] = "comment"
    EFFECT: ClassVar[Effect | None] = Effect.ENDS

    id: Annotated[UpstreamId | None, Names("self", Kind.COMMENT)] = Field(default=None, repr=False)


class CommentAttachmentAdded(AttachmentFields):
    """A file came with a comment."""

    TYPE: ClassVar[str] = "sealdesk.comment.attachment_added.v1"
    THING: ClassVar[str] = "comment"
    BLOB: ClassVar[bool] = True

    comment_id: Annotated[UpstreamId | None, Names("self", Kind.COMMENT)] = Field(default=None, repr=False)
