"""Studies of how the networks of one initial draw learn: a table and a figure each."""


rule trajectory:
    output:
        table=f"{STUDY}.csv",
        figure=report(f"{STUDY}.svg", caption="../report/trajectory.rst", category="Studies"),
    wildcard_constraints:
        study=studies_of("trajectory"),
    params:
        digest=digest_of_study,
    threads: GRID.settings["threads"]
    log:
        f"{STUDY}.log",
    benchmark:
        f"{STUDY}.benchmark.tsv"
    shell:
        TTFS + " study {GRID_FILE:q} {wildcards.study} 2>&1 | tee {log}"


use rule trajectory as gradients with:
    output:
        table=f"{STUDY}.csv",
        figure=report(f"{STUDY}.svg", caption="../report/gradients.rst", category="Studies"),
    wildcard_constraints:
        study=studies_of("gradients"),
