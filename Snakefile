"""The whole run. `snakemake all` runs configs/quick.yaml, `snakemake all --config grid=<file>` another grid."""


include: "workflow/main.smk"
