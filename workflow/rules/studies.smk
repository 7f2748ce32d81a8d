"""Studies of how the networks of one initial draw learn."""


rule study:
    output:
        temp(touch(f"{JOBS}/study/{{cell}}/{{token}}")),
    threads: threads_of
    resources:
        gpu=gpus_of,
    log:
        f"{LOGS}/{{cell}}/study-{{token}}.log",
    shell:
        TTFS + " study {GRID_FILE:q} {wildcards.cell:q} > {log:q} 2>&1"
