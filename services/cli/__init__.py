"""The command line: `sealdesk COMMAND`, one module a theme.

app          the entry point: commands under their names, errors turned into exit statuses
options      the options that several commands share
entering     opening the house of a data folder, and what every command does first
printing     JSON lines, tables, progress, and the words on the error stream
asking       references and texts from arguments or standard input, and the question before a shred
importing    import
serving      what every process that runs for long has around it
streaming    publish, consume
tenants      tenant add, set, list
listing      what every list shares: options, reason, where to go on, the table
querying     query contacts, tickets, calls, chats, reports, erasures
browsing     query forums, articles, companies, groups
shredding    shred contact, agent, ticket, thing
handing_over what a shred would take, its certificate and its proof, written
purging      purge list, run
attaching    blob put, get, list, sweep
analysing    analysts refresh, rotate, show, grant
describing   datamap, ropa, notice, agreement, events, check
generating   generate
keys         keys public, keys pair turn, list
holding      hold add, release, list
quarantining quarantine list, show, replay, drop
drilling     drill restore
epochs       keys turn, move, status, check, backed-up, accept-loss
recipients   recipients add, remove, list, show, resend, told
rights       rights show, grant, logins
topics       topics, topics create, clear, broker-clean
looking      find, verify, certificate show, verify
running      project, keep, up, status, rebuild
migrating    migrate
doctoring    doctor
"""
