"""The Snakefile of `ttfs run`, which is checked before it is read."""


include: "errors.smk"
include: "../Snakefile"


workflow.default_target = "all"  # an `include` leaves that of its file out
