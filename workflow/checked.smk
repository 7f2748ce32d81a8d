"""The Snakefile of `ttfs run`, which is checked before it is read."""


include: "errors.smk"
include: "../Snakefile"
