"""An export of the Freshdesk API, read as records: lists of objects in a folder, any of them, in any order.

folder     the files of an export
objects    objects made into events
shapes     which kind of object is which fact
adapting   what has to be adapted in their fields
standing   which of them stand already, so that a later export is an edit
"""
