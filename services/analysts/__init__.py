"""What analysts read: published without people, in a schema and under roles of their own.

publication  the tables, written anew from the reports
folding      which groups are large enough to be told
roles        who may read what in the schema, and nothing else
"""
