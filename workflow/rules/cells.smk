"""The networks of the grid, and other classifiers: tried, made, then evaluated."""


rule trial:
    output:
        touch(TRIAL),
    log:
        f"{LOGS}/trial.log",
    shell:
        TTFS + " trial {GRID_FILE:q} > {log:q} 2>&1"


rule make:
    input:
        TRIAL,
        lambda wildcards: source_marker(wildcards),
    output:
        temp(touch(f"{JOBS}/make/{{cell}}/{{token}}")),
    threads: lambda wildcards: threads_of(wildcards) * devices_of(wildcards)
    resources:
        gpu=lambda wildcards: gpus_of(wildcards) * devices_of(wildcards),
    log:
        f"{LOGS}/{{cell}}/make-{{token}}.log",
    shell:
        TTFS + " make {GRID_FILE:q} {wildcards.cell:q} > {log:q} 2>&1"


rule evaluate:
    input:
        lambda wildcards: marker("make", cell_of(wildcards)),
    output:
        temp(touch(f"{JOBS}/evaluate/{{cell}}/{{token}}")),
    threads: threads_of
    resources:
        gpu=gpus_of,
    log:
        f"{LOGS}/{{cell}}/evaluate-{{token}}.log",
    shell:
        TTFS + " evaluate {GRID_FILE:q} {wildcards.cell:q} > {log:q} 2>&1"
