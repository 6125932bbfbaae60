"""Stories of people, companies and groups: what changes in what is known of them."""

from __future__ import annotations

from collections.abc import Callable

from domain import agents, companies, contacts
from services.generator import rates
from services.generator.desk import HOST, Data, Desk, Story
from services.generator.people import Company, Person


def become_known(desk: Desk, at: int, person: Person) -> None:
    """Tell that upstream made a contact of somebody."""
    data: Data = {"id": person.number, "name": person.name, "email": person.email, "language": person.language.code}
    if person.other_emails:
        data["other_emails"] = list(person.other_emails)
    if person.phone is not None:
        data["phone" if desk.chance(0.5) else "mobile"] = person.phone
    if person.external is not None:
        data["unique_external_id"] = person.external
    if person.company is not None:
        data["company_id"], data["job_title"] = person.company, desk.pick(desk.house.jobs)
    if person.tier is not None:
        data["custom_fields"] = {"cf_tier": person.tier}
    how = desk.random()
    if how < 0.3:
        data["address"] = desk.writing.street(person.language)
    elif how < 0.4:
        data["description"] = desk.writing.one(desk.house.notes, person.language)
    elif how < 0.45:
        data["tags"] = [desk.pick(desk.house.tags)]
    elif how < 0.5:
        data["time_zone"] = person.language.time_zone
    desk.say(contacts.ContactCreated, at, data)
    desk.met(person)


def newcomer(desk: Desk, at: int) -> Person:
    """Make a contact whom the desk may hear from again."""
    if desk.chance(rates.WITH_NEW_COMPANY):
        new_company(desk, at)
    person = desk.people.new_person()
    become_known(desk, at, person)
    desk.people.keep(person)
    return person


def known_later(desk: Desk, at: int, person: Person, number: int) -> Story:
    """Tell that somebody who wrote from an address was made a contact."""
    at = yield desk.after(rates.UNTIL_ANSWER)
    person.number = number
    become_known(desk, at, person)
    desk.people.keep(person)


def change(desk: Desk, at: int, *, in_full: bool = False) -> Story:
    """Tell one happening of some contact; or one of each kind."""
    for told in dict.fromkeys(_CHANGES) if in_full else (desk.pick(_CHANGES),):
        yield from told(desk, at)
        if in_full:
            at = yield 600


def _updated(desk: Desk, at: int) -> Story:
    person, how = desk.people.anyone(), desk.random()
    data: Data = {"id": person.number}
    if how < 0.3:
        person.phone = data["phone"] = desk.people.new_phone(person.language)
    elif how < 0.5:
        box = desk.pick(desk.house.mailboxes)
        person.other_emails = (*person.other_emails[-3:], f"new{desk.number()}.{person.number}@{box}")
        data["other_emails"] = list(person.other_emails)
    elif how < 0.7:
        data["address"] = desk.writing.street(person.language)
    elif how < 0.85:
        data["job_title"] = desk.pick(desk.house.jobs) if desk.chance(0.6) else None
    else:
        data["description"] = desk.writing.several(desk.house.notes, person.language, 2)
    desk.say(contacts.ContactUpdated, at, data)
    yield from ()


def _rectified(desk: Desk, at: int) -> Story:
    person = desk.people.anyone()
    first, _, second = person.family.partition("-")
    person.family = second or f"{first}-{desk.pick(person.language.family).native}"
    ordered = (person.family, person.given) if person.language.family_first else (person.given, person.family)
    person.name = " ".join(ordered)
    data: Data = {"id": person.number, "name": person.name, "address": desk.writing.street(person.language)}
    desk.say(contacts.ContactRectified, at, data)
    yield from ()


def _consented(desk: Desk, at: int) -> Story:
    person, house = desk.people.anyone(), desk.house
    data: Data = {"id": person.number, "purpose": desk.pick(house.purposes), "wording": desk.pick(house.wordings)}
    data["evidence"] = desk.writing.one(house.evidence, person.language)
    desk.say(contacts.ConsentGiven, at, data)
    if desk.chance(0.4):
        at = yield desk.after(3 * rates.UNTIL_CLOSED)
        withdrawn = {"id": person.number, "purpose": data["purpose"], "wording": data["wording"]}
        desk.say(contacts.ConsentWithdrawn, at, withdrawn)


def _merged(desk: Desk, at: int) -> Story:
    if secondary := desk.people.taken_out():
        primary = desk.people.anyone()
        data = {"primary_contact_id": primary.number, "secondary_contact_ids": [secondary.number]}
        desk.say(contacts.ContactMerged, at, data)
    yield from ()


def _deleted(desk: Desk, at: int) -> Story:
    if person := desk.people.taken_out():
        desk.say(contacts.ContactDeleted, at, {"id": person.number})
        at = yield desk.after(rates.UNTIL_CLOSED)
        if desk.chance(0.5):
            desk.say(contacts.ContactRestored, at, {"id": person.number})
            desk.people.keep(person)


def _blocked(desk: Desk, at: int) -> Story:
    person = desk.people.anyone()
    desk.say(contacts.ContactBlocked, at, {"id": person.number})
    at = yield desk.after(rates.UNTIL_CLOSED)
    desk.say(contacts.ContactUnblocked, at, {"id": person.number})


def _pictured(desk: Desk, at: int) -> Story:
    person = desk.people.anyone()
    data = {**desk.file(contact_id=person.number), "name": f"{person.given}.png", "content_type": "image/png"}
    desk.say(contacts.ContactAvatarAdded, at, data)
    yield from ()


#: The happenings of contacts by how often they are told.
_CHANGES: tuple[Callable[[Desk, int], Story], ...] = (
    (_updated,) * 8 + (_consented,) * 5 + (_rectified, _merged, _deleted, _blocked, _pictured, _pictured)
)


def hired(desk: Desk, at: int) -> Person:
    """Make an agent; half of them were known as contacts before, under the same id."""
    person = desk.people.new_person(desk=HOST)
    if desk.chance(0.5):
        become_known(desk, at, person)
    _employed(desk, at, person)
    return person


def _employed(desk: Desk, at: int, person: Person) -> None:
    signature = f"{person.name}, {HOST}, {person.phone or person.email}"
    data: Data = {"id": person.number, "name": person.name, "email": person.email, "signature": signature}
    data["ticket_scope"], data["language"], data["available"] = 1, person.language.code, True
    person.agent = True
    desk.say(agents.AgentCreated, at, data)
    desk.people.agents.append(person)


def agent_changed(desk: Desk, at: int) -> None:
    """Tell a change of somebody in the team."""
    agent = desk.on_duty()
    data: Data = {"id": agent.number}
    if desk.chance(0.3):
        agent.phone = data["phone"] = desk.people.new_phone(agent.language)
        desk.say(agents.AgentRectified, at, data)
        return
    data["available"], data["signature"] = desk.chance(0.8), f"{agent.name}, {desk.pick(desk.house.groups)}"
    desk.say(agents.AgentUpdated, at, data)


def promoted(desk: Desk, at: int) -> Story:
    """Tell of a contact who becomes an agent for a while, and is a contact again."""
    person = desk.people.taken_out()
    if person is None:
        return
    data: Data = {"id": person.number, "signature": f"{person.name}, trainee", "ticket_scope": 2, "occasional": True}
    desk.say(contacts.ContactMadeAgent, at, data)
    person.agent = True
    desk.people.agents.append(person)
    at = yield desk.after(5 * rates.UNTIL_CLOSED)
    desk.say(agents.AgentRectified, at, {"id": person.number, "name": person.name})
    at = yield desk.after(rates.UNTIL_CLOSED)
    person.agent = False
    desk.people.agents.remove(person)
    desk.say(agents.AgentDeleted, at, {"id": person.number})
    desk.people.keep(person)


def new_company(desk: Desk, at: int) -> Company:
    """Tell of a company."""
    company, house = desk.people.new_company(), desk.house
    data: Data = {"id": company.number, "name": company.name, "domains": [company.domain]}
    data["industry"], data["account_tier"] = desk.pick(house.industries), desk.pick(house.tiers)
    data["note"] = desk.writing.one(house.firm_texts, desk.on_duty().language)
    data["renewal_date"] = desk.moment(at + 300 * 86_400)
    desk.say(companies.CompanyCreated, at, data)
    return company


def company_changed(desk: Desk, at: int) -> None:
    """Tell a change of a company; now and then it is forgotten."""
    known = desk.people.companies
    company = desk.pick(known)
    if len(known) > 3 and desk.chance(0.15):
        known.remove(company)
        desk.say(companies.CompanyDeleted, at, {"id": company.number})
        return
    note = desk.writing.several(desk.house.firm_texts, desk.on_duty().language, 2)
    desk.say(companies.CompanyUpdated, at, {"id": company.number, "note": note, "health_score": "at risk"})


def new_group(desk: Desk, at: int, number: int, name: str) -> None:
    """Tell of a group of the team."""
    members = sorted({desk.on_duty().number for _ in range(4)})
    data: Data = {"id": number, "name": name, "agent_ids": members, "escalate_to": members[0]}
    data["description"] = desk.writing.one(desk.house.shelf_texts, desk.on_duty().language)
    desk.say(companies.GroupCreated, at, data)
