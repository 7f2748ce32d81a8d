"""Studies: how networks of different kinds learn from one initial draw. One module each, found by
its file name.
"""
