"""`makerflow up`: the platform's parts on one machine, supervised.

A guard (the command itself) keeps a supervisord, which keeps the parts. Each dies with the one that started it, and is
started again by it.
"""
