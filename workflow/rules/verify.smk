"""TTFS networks held against ReLU networks and the event-driven simulator, on the whole test set."""


rule verify:
    input:
        source_weights,
        f"{CELL}/weights.pt",
    output:
        record=f"{CELL}/record.json",
    wildcard_constraints:
        method="|".join([methods_of("convert", "verify"), methods_of("train", "verify")]),
    params:
        digest=digest_of("verify"),
    threads: GRID.settings["threads"]
    log:
        f"{CELL}/verify.log",
    benchmark:
        f"{CELL}/verify.benchmark.tsv"
    shell:
        TTFS + " verify {GRID_FILE:q} {wildcards.dataset}/{wildcards.model}/seed{wildcards.seed}/{wildcards.method}"
        " 2>&1 | tee {log}"
