"""What happens: the ways through the house, and the one place that knows servers and concrete classes.

settings         where everything is, read once at the start
wiring           from settings to a house that works; concrete classes are named here only
roots            where the roots are kept, from the settings: files, an HSM, a KMS, or a move between two
embedded         the servers that sealdesk brings along
schema           which version the tables of a database have, and whether it fits
migrating        bring the tables of a database to today's version
rights           who may do what in the databases, table by table
doors            the ways into both databases, one a role
logins           the logins of an installation, made from a file
log              the log of facts, on the eventsourcing library
tenants          the accounts, and the words that each declares
records          records as they come in: from bytes to drafts
reading_files    files of CloudEvents or CSV, read as parcels
csv_map          what the columns of a CSV file mean
csv_rows         a row and a map make several facts
freshdesk/       an export of the Freshdesk API, read as records
generating       a helpdesk that never was, told from a seed
generator/       its people, texts and stories
checking         records tried without a house
publishing/      what upstream services publish with
kafka/           the front door: records in, receipts and news out, nothing left lying
intake           a batch of parcels in, sealed facts on the log
batches          what intake carries from step to step
outcomes         what became of records, of each and in numbers
viewing          what deciding reads: who and what is behind the references of a batch
garbage          less search for cycles of garbage while a batch is at work
locking          whoever a batch is about, locked, and nothing changed meanwhile
sealed           sealed records, as Kafka brings them and as the quarantine keeps them
quarantining     records that cannot be taken, sealed under the key of their day
waiting          records that wait, and what of that is known by now
refusing         records that nobody keeps, because they are about somebody who was shredded
naming           what a record names, even one that is wrong in any way
resolving        what a record is about, and whose each fact is
identity         who is who: people behind references, merged and new ones
fields           which field stands in the clear and which is sealed
changes          what deciding reads, and what it leaves
opening_facts    seals of facts, opened in memory
opening_records  quarantined records, opened in memory
keeping          the key work that facts of upstream call for
key_work         who does it: intake at once, or a keeper right behind
vouching         which facts the house itself has sealed, so that key work may be done on their word
finding          from a reference to people and things, by inside id
duplicates       who else may be the same person
privacy          the application of data-subject requests
holds            what forbids a shred
desk_words       free text of officers, sealed under the desk
blobs/           files of things: sealed, kept, opened, swept
shredding        a shred, step by step, and what resumes it
effects          what a shred takes, and what it changes for others
destroying       the ledger line and the key material, under all locks
sweeping         what a destroyed key left beneath it
certifying       the account of a shred, signed, and signed anew
news             what recipients have to be told, by the ids of upstream
recipients       who is told, and how that stands
purging          the trash after its time, and what upstream deleted for good
closing          a tenant is closed, step by step, and what resumes it
closed           what remains of a closed tenant: the sweep, and the search for residue
arrived          what came in of a tenant since it was exported
drafts           folders in clear that appear whole or not at all
exporting        everything of a tenant that opens, in a folder that can be imported again
as_records       facts written as the records that would make them again
residue          anything readable about what was shredded
proving/         what was shredded, looked for byte by byte
quarantine       what could not be taken: listed, shown, dropped, expired, judged
epochs           which copies of the key database still open, and which shreds nobody can undo
integrity        the keys compared with the log
restoring        shreds carried out again after a restore
rewriting        lost lines of the ledger written again
ledgers/         places of the ledger other than a file: a topic, a bucket
gate             what must fit together before anything is served
living           what living texts still say of a person
following        the log followed: what is new is folded at once
rounds           small steps in turn, each in its own time
steps            what `sealdesk keep` does, and how often
watching/        how a process is seen from outside
doctor/          what whoever runs the house could have got wrong
projecting       read models brought to the head of the log
rebuilding       a read model built anew beside the living one
reading          lists, sealed unless there is a reason
lists            how a row of a read model is shown
analysts/        what analysts read, published without people
describing/      documents generated from the catalogue
hardening        what a process holds in its memory stays there
drill            a house that never was, copied, shredded and restored in every way
demo             the story that `make demo` tells
cli/             the command line
sql/             the tables and statements of the log database
"""
