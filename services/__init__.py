"""What happens: the ways through the house, and the one place that knows servers and concrete classes.

settings    where everything is, read once at the start
embedded    the servers that sealdesk brings along
"""
