"""The stages of a run, one module and one verb of `python -m ttfs` each: read files, call the science, write files."""
