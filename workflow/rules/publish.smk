"""The MLflow store, made to agree with the records."""


rule publish:
    input:
        all_records,
    output:
        touch(f"results/{GRID.name}/publish.done"),
    params:
        digest=code_digest("ttfs.stages.publish"),
        cells=networks(),
    log:
        f"results/{GRID.name}/publish.log",
    benchmark:
        f"results/{GRID.name}/publish.benchmark.tsv"
    shell:
        TTFS + " publish {GRID_FILE:q} 2>&1 | tee {log}"
