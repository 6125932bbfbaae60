"""What can be asked. A read model is a fold of the log, pure and without a key; it may be thrown away.

paging        the runner: one page of facts, one transaction, compare-and-set on the position
contacts      who is known: one row a profile, contacts and agents, and what they consented to
tickets       tickets, calls and chats, and their conversations
reports       counts, response times and ratings, without anybody's name: a shred changes nothing in it
forums        categories, forums, topics and comments; an erased one keeps its place
articles      articles, their folders and categories
companies     the companies from which people write
groups        the groups of the team, and who belongs to them
erasures      how much was forgotten, by day, and how many of the open tickets that touches
profiles      the fold behind `contacts`
conversations the fold behind `tickets`
things        what the last four have in common: things that stand in a tree
branches      the fold behind `things`
entries       what stands in a conversation, and what an edit or a deletion makes of it
milestones    what `tickets`, `reports` and `erasures` must agree on: open or done, first response, resolution, words
seals         how a row keeps its seals: the last fact that gave a field provides it
shredded      the ids of subjects and things that were shredded
closed        tenants that were closed: everything of them folds as shredded
clear         reading the clear fields of a fact
statements    SQL files into named statements, rows into column arrays
sql/          one file a read model: its tables, then its statements; `things.sql` serves four
"""
