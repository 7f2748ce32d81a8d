"""Networks trained, from scratch or from another one's weights. The record of a TTFS network is made by verify."""


rule train:
    output:
        weights=f"{CELL}/weights.pt",
        curve=f"{CELL}/curve.csv",
        record=f"{CELL}/record.json",
    wildcard_constraints:
        method=methods_of("train"),
    params:
        digest=digest_of("train"),
    threads: GRID.settings["threads"]
    log:
        f"{CELL}/train.log",
    benchmark:
        f"{CELL}/train.benchmark.tsv"
    shell:
        TTFS + " train {GRID_FILE:q} {wildcards.dataset}/{wildcards.model}/seed{wildcards.seed}/{wildcards.method}"
        " 2>&1 | tee {log}"


use rule train as train_spiking with:
    input:
        source_weights,
    output:
        weights=f"{CELL}/weights.pt",
        curve=f"{CELL}/curve.csv",
    wildcard_constraints:
        method=methods_of("train", "verify"),
