"""The run of a grid: make, evaluate, deploy, studies, tables, figures, page, and the MLflow store.

    snakemake all                                      # the embedded default, configs/quick.yaml
    snakemake all --config grid=configs/mnist.yaml     # another grid
"""


report: "workflow/report/workflow.rst"


include: "workflow/errors.smk"
include: "workflow/common.smk"
include: "workflow/rules/cells.smk"
include: "workflow/rules/hardware.smk"
include: "workflow/rules/studies.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.tables.output,
        rules.figures.output,
        rules.page.output,
        rules.publish.output,
