"""What sealdesk says of itself: documents that are generated from the catalogue, and from nothing else.

lifetimes   whose a fact is, under which key it hangs and when it is gone, read off the catalogue
fields      what becomes of each field of a record type, in data and in words
schemas     a JSON Schema for each record type, and one for the CloudEvent around it
events      the catalogue of record types
asyncapi    the channel of records, as AsyncAPI 3.0
data_map    every field, with purpose, legal basis, retention, key, and where it is shown
operator    what only the operator knows: a TOML file with names, transfers, other legal bases
measures    technical and organisational measures, each with what shows it
flow        how data flows, as a drawing
ropa        the records of processing activities (Article 30)
notice      what people are told (Articles 13 and 14)
agreement   the annexes of a processing agreement (Article 28)
markdown    tables and lists in Markdown
documents   every generated file, written or compared with what stands in `docs/`
"""
