"""The stages of a run. Each is a verb of the command line; those of a cell do nothing where it is
current.
"""
