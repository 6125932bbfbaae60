"""How secrets are kept.

wrapping      one key under another, and what a key looks like in memory
sealing       seal and open one fact; the format, byte by byte
streaming     seal and open a file as a stream, in flat memory
envelopes     seal a record at its publisher, to the desk's pair (HPKE); the format, byte by byte
pairs         the pairs of keys to which publishers seal, and how they die
halves        the public half of a pair as a signed file
tree          the key tree: issue, re-wrap, destroy
opening       the way down the tree: from a root epoch to the leaf keys of a page; what "shredded" means
closing       a closed tenant: all its keys go at once, and one row answers for them
turning       the turn of the root epoch
replacing     replace one key: what lives beneath it is wrapped anew
integrity     what was rolled back, swapped, changed or lost in the key database
agreement     whether the register leads both ways, and whether what the ledger says was done
findings      what such a check can find, and its report
roots         where root epochs live: files of a private folder
keepers       roots that a device wraps, and their move from one place to another
hsm           a device: an HSM, through PKCS #11
kms           a device: AWS KMS
references    the canonical form of a reference
register      canonical reference -> blind index -> inside id; fences
ledger        the shreds that must survive a restore
lines         one line of it: bytes, signature, who draws it up; when its key expires
files         the ledger as a file
mirroring     the same in two places
accounts      what a certificate says of a shred
canonical     the canonical bytes of what is signed
certificates  sign and verify
outbox        what recipients have to be told, sealed until the last of them has heard it
recipients    whom a tenant passed data on to, and the secret that each signs its answers with
keystore      transactions on the key database, and the translation of its errors
roles         the roles under which a process works in the databases
sql/          the tables and statements of the key database
"""
