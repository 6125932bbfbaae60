"""Stories of forums and articles. What stands stays; topics, comments and articles come and go on it."""

from __future__ import annotations

from domain import articles, forums
from services.generator import rates
from services.generator.desk import Data, Desk, Story
from services.generator.people import Person

_EVERYBODY = 1


def new_category(desk: Desk, at: int) -> int:
    """Tell of a category of forums."""
    number = desk.number()
    data: Data = {"id": number, "name": desk.pick(desk.house.shelves), "description": _shelf_text(desk)}
    desk.say(forums.CategoryPosted, at, data)
    return number


def new_forum(desk: Desk, at: int, category: int) -> int:
    """Tell of a forum in a category."""
    number = desk.number()
    data: Data = {"id": number, "forum_category_id": category, "name": desk.pick(desk.house.shelves)}
    data["description"] = _shelf_text(desk)
    data["forum_type"], data["forum_visibility"] = 1 + int(desk.random() * 4), _EVERYBODY
    desk.say(forums.ForumPosted, at, data)
    return number


def new_folder(desk: Desk, at: int, category: int) -> int:
    """Tell of a folder of articles."""
    number = desk.number()
    data: Data = {"id": number, "category_id": category, "name": desk.pick(desk.house.shelves)}
    data["description"], data["visibility"] = _shelf_text(desk), _EVERYBODY
    desk.say(articles.ArticleFolderPosted, at, data)
    return number


def new_article_category(desk: Desk, at: int) -> int:
    """Tell of a category of articles."""
    number = desk.number()
    data: Data = {"id": number, "name": desk.pick(desk.house.shelves), "description": _shelf_text(desk)}
    desk.say(articles.ArticleCategoryPosted, at, data)
    return number


def topic(desk: Desk, at: int, who: Person, *, in_full: bool = False) -> Story:
    """Tell a topic with its comments and votes."""
    number, words, writing = desk.number(), who.language, desk.writing
    data: Data = {"id": number, "forum_id": desk.pick(desk.forums), "user_id": who.number}
    data["title"] = writing.one(words.subjects, words)
    data["message"] = writing.letter(who)
    desk.say(forums.TopicPosted, at, data)
    if in_full or desk.chance(rates.POST_FILE):
        desk.say(forums.TopicAttachmentAdded, at, desk.file(topic_id=number))
    if in_full or desk.chance(rates.POST_EDITED):
        at = yield desk.after(900)
        desk.say(forums.TopicEdited, at, {"id": number, "message": f"{data['message']}\n(edited)"})
    if in_full or desk.chance(rates.TOPIC_MOVED):
        at = yield desk.after(rates.UNTIL_ANSWER)
        desk.say(forums.TopicMoved, at, {"id": number, "forum_id": desk.pick(desk.forums)})
    for turn in range(1 + int(desk.random() * rates.COMMENTS)):
        at = yield desk.after(rates.BETWEEN_ENTRIES)
        yield from _comment(desk, at, number, in_full=in_full and turn == 0)
    if in_full or desk.chance(0.5):
        at = yield desk.after(rates.UNTIL_ANSWER)
        desk.say(forums.TopicVoted, at, {"id": number, "user_id": desk.people.anyone().number, "vote": _vote(desk)})
    if in_full or desk.chance(rates.TOPIC_LOCKED):
        at = yield desk.after(rates.UNTIL_CLOSED)
        desk.say(forums.TopicLocked, at, {"id": number, "locked": True})
    if in_full or desk.chance(rates.POST_DELETED):
        at = yield desk.after(rates.UNTIL_CLOSED)
        desk.say(forums.TopicDeleted, at, {"id": number})


def _comment(desk: Desk, at: int, topic: int, *, in_full: bool) -> Story:
    by_agent = desk.chance(0.3)
    author = desk.on_duty() if by_agent else desk.people.anyone()
    number, words = desk.number(), author.language
    text = desk.writing.several(words.answers if by_agent else words.thanks, words, 2)
    data = desk.html({"id": number, "topic_id": topic, "user_id": author.number, "body_text": text})
    data["answer"] = by_agent
    desk.say(forums.CommentPosted, at, data)
    if in_full or desk.chance(rates.POST_FILE):
        desk.say(forums.CommentAttachmentAdded, at, desk.file(comment_id=number))
    if in_full or desk.chance(0.3):
        at = yield desk.after(1800)
        desk.say(forums.CommentVoted, at, {"id": number, "user_id": desk.people.anyone().number, "vote": _vote(desk)})
    if in_full or desk.chance(rates.POST_EDITED):
        at = yield desk.after(900)
        desk.say(forums.CommentEdited, at, {"id": number, "body_text": f"{text} {desk.writing.one(words.chat, words)}"})
    if in_full or desk.chance(rates.POST_DELETED):
        at = yield desk.after(900)
        desk.say(forums.CommentDeleted, at, {"id": number})


def article(desk: Desk, at: int, *, in_full: bool = False) -> Story:
    """Tell an article from its draft on."""
    author, house, writing = desk.on_duty(), desk.house, desk.writing
    number, words = desk.number(), author.language
    data: Data = {"id": number, "folder_id": desk.pick(desk.folders), "agent_id": author.number, "type": 1, "status": 1}
    data["title"] = writing.one(house.article_titles, words)
    data["description_text"] = writing.several(house.paragraphs, words, 5)
    desk.say(articles.ArticleDrafted, at, data)
    at = yield desk.at_work(at, rates.BETWEEN_ENTRIES)
    again = {"id": number, "description_text": writing.several(house.paragraphs, words, 6)}
    desk.say(articles.ArticleEdited, at, again)
    if in_full or desk.chance(rates.ARTICLE_FILE):
        desk.say(articles.ArticleAttachmentAdded, at, desk.file(article_id=number))
    at = yield desk.at_work(at, rates.BETWEEN_ENTRIES)
    published = {"id": number, "agent_id": desk.on_duty(author).number, "status": 2, "hits": int(desk.random() * 90)}
    desk.say(articles.ArticlePublished, at, published)
    if in_full or desk.chance(rates.ARTICLE_DELETED):
        at = yield desk.after(rates.UNTIL_CLOSED)
        desk.say(articles.ArticleDeleted, at, {"id": number})


def shelf_that_goes(desk: Desk, at: int) -> Story:
    """Tell a forum and its category that are made, described anew, moved and deleted, with what stood in them."""
    category = new_category(desk, at)
    forum = new_forum(desk, at, category)
    at = yield desk.after(rates.UNTIL_ANSWER)
    desk.say(forums.CategoryEdited, at, {"id": category, "description": _shelf_text(desk)})
    desk.say(forums.ForumEdited, at, {"id": forum, "description": _shelf_text(desk)})
    who = desk.people.anyone()
    data: Data = {"id": desk.number(), "forum_id": forum, "user_id": who.number}
    data["title"], data["message"] = desk.writing.one(who.language.subjects, who.language), desk.writing.letter(who)
    desk.say(forums.TopicPosted, at, data)
    at = yield desk.after(rates.UNTIL_CLOSED)
    desk.say(forums.ForumMoved, at, {"id": forum, "forum_category_id": desk.pick(desk.categories)})
    at = yield desk.after(rates.UNTIL_CLOSED)
    desk.say(forums.ForumDeleted, at, {"id": forum})
    desk.say(forums.CategoryDeleted, at, {"id": category})


def folder_that_goes(desk: Desk, at: int) -> Story:
    """Tell a folder of articles and its category that are made, described anew and deleted."""
    category = new_article_category(desk, at)
    folder = new_folder(desk, at, category)
    at = yield desk.after(rates.UNTIL_ANSWER)
    desk.say(articles.ArticleCategoryEdited, at, {"id": category, "description": _shelf_text(desk)})
    desk.say(articles.ArticleFolderEdited, at, {"id": folder, "description": _shelf_text(desk)})
    author = desk.on_duty()
    data: Data = {"id": desk.number(), "folder_id": folder, "agent_id": author.number, "status": 2}
    data["description_text"] = desk.writing.several(desk.house.paragraphs, author.language, 3)
    desk.say(articles.ArticlePublished, at, data)
    at = yield desk.after(rates.UNTIL_CLOSED)
    desk.say(articles.ArticleFolderDeleted, at, {"id": folder})
    desk.say(articles.ArticleCategoryDeleted, at, {"id": category})


def _shelf_text(desk: Desk) -> str:
    return desk.writing.one(desk.house.shelf_texts, desk.people.agents[0].language)


def _vote(desk: Desk) -> int:
    return 1 if desk.chance(0.8) else -1
