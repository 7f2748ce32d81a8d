"""The stages of a run, one module each: read files, call the science, write files. Each is a verb of `python -m ttfs`."""
