"""Networks on hardware, once they were evaluated."""


rule deploy:
    input:
        lambda wildcards: marker("make", cell_of(wildcards).network),
        lambda wildcards: marker("evaluate", cell_of(wildcards).network),
    output:
        temp(touch(f"{JOBS}/deploy/{{cell}}/{{token}}")),
    threads: threads_of
    resources:
        gpu=gpus_of,
    log:
        f"{LOGS}/{{cell}}/deploy-{{token}}.log",
    shell:
        TTFS + " deploy {GRID_FILE:q} {wildcards.cell:q} > {log:q} 2>&1"
