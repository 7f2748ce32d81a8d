"""The whole run: train, convert, verify, sweep, studies, tables, figures, publish.

    snakemake all                                      # the embedded default, configs/quick.yaml
    snakemake all --config grid=configs/mnist.yaml     # another grid
"""


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/convert.smk"
include: "workflow/rules/verify.smk"
include: "workflow/rules/sweep.smk"
include: "workflow/rules/studies.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/publish.smk"


rule all:
    default_target: True
    input:
        rules.tables.output,
        rules.figures.output,
        rules.publish.output,
        all_studies,
