"""TTFS networks on hardware: one job a network and hardware, with all its levels."""


rule sweep:
    input:
        f"{CELL}/weights.pt",
        verified=f"{CELL}/record.json",
    output:
        record=f"{DEPLOYED}/record.json",
    params:
        digest=digest_on_hardware,
    threads: GRID.settings["threads"]
    log:
        f"{DEPLOYED}/sweep.log",
    benchmark:
        f"{DEPLOYED}/sweep.benchmark.tsv"
    shell:
        TTFS + " sweep {GRID_FILE:q}"
        " {wildcards.dataset}/{wildcards.model}/seed{wildcards.seed}/{wildcards.method} {wildcards.hardware}"
        " 2>&1 | tee {log}"
