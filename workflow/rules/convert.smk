"""ReLU networks mapped to TTFS networks."""


rule convert:
    input:
        source_weights,
    output:
        weights=f"{CELL}/weights.pt",
    wildcard_constraints:
        method=methods_of("convert", "verify"),
    params:
        digest=digest_of("convert"),
    threads: GRID.settings["threads"]
    log:
        f"{CELL}/convert.log",
    benchmark:
        f"{CELL}/convert.benchmark.tsv"
    shell:
        TTFS + " convert {GRID_FILE:q} {wildcards.dataset}/{wildcards.model}/seed{wildcards.seed}/{wildcards.method}"
        " 2>&1 | tee {log}"
