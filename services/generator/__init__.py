"""A helpdesk that never was: people, and what happens to them, drawn from one seed.

rates     how often what happens, and what bounds memory
pools     names, streets and sentences by language, and what the desk sells; the texts lie in texts/*.toml
writing   texts, and the other people whom they name
people    contacts, agents and companies, of whom only some are kept
desk      what every story shares: ids, time, dice, and the records that come out
profiles  stories of people, companies and groups
entries   what stands in a ticket: its opening, replies, notes, files
tickets   stories of tickets
talks     stories of calls, chats and team discussions
boards    stories of forums and articles
opening   the first day: words, agents, groups, shelves, the first contacts
seasons   a story from time to time in which every rare thing happens once
"""
