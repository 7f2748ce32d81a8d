"""The run of a grid: make, evaluate, deploy, studies, tables, figures, and the MLflow store.

    snakemake all                                      # the embedded default, configs/quick.yaml
    snakemake all --config grid=configs/mnist.yaml     # another grid
"""


report: "report/workflow.rst"


include: "common.smk"
include: "rules/cells.smk"
include: "rules/hardware.smk"
include: "rules/studies.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        rules.tables.output,
        rules.figures.output,
        rules.publish.output,
