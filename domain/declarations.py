"""Facts of what a tenant declares: the words that may stand in the clear."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from domain.fact import LIST_ITEMS, Record
from domain.personal import Declares
from domain.vocabularies import NAME_CHARACTERS, declarable, declarable_name

Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS), AfterValidator(declarable_name)]
Declared = Annotated[str, AfterValidator(declarable)]


class VocabularyDeclared(Record):
    """Words were declared for a vocabulary, beside those that it has. From now on they stand in the clear.

    A vocabulary is one that every tenant has (`status`, `type`, `group`, ...) or is named like a custom field.
    """

    TYPE: ClassVar[str] = "sealdesk.vocabulary.declared.v1"
    THING: ClassVar[str] = "tenant"

    vocabulary: Annotated[Name, Declares()]
    words: Annotated[Annotated[list[Declared], Field(min_length=1, max_length=LIST_ITEMS)], Declares()]
