"""What is made from records: tables, figures, and the MLflow store."""


localrules:
    tables,
    figures,
    publish,


rule tables:
    input:
        all_jobs(),
        records(),
    output:
        [
            report(f"{GRID.folder}/tables/{name}.csv", caption=f"../report/{name}.rst", category="Tables")
            for name in ("summary", "layers", "steps", "classes", "sparsity", "hardware", "published")
        ],
        [f"{GRID.folder}/tables/{name}.md" for name in ("summary", "hardware", "published")],
        f"{GRID.folder}/tables/cells.csv",
        touch(view_markers("tables", *TABLES)),
    log:
        f"{LOGS}/tables.log",
    shell:
        TTFS + " tables {GRID_FILE:q} > {log:q} 2>&1"


rule figures:
    input:
        view_markers("tables", *TABLES),
        records(),
    output:
        [
            report(f"{GRID.folder}/figures/{name}.svg", caption=f"../report/{name}.rst", category="Figures")
            for name in FIGURES
        ],
        [
            report(f"{GRID.folder}/figures/{name}.svg", caption=f"../report/{kind}.rst", category="Studies")
            for name, kind in STUDY_FIGURES.items()
        ],
        touch(view_markers("figures", "ttfs.results.figures", "ttfs.studies.figures", "ttfs.results.frame")),
    log:
        f"{LOGS}/figures.log",
    shell:
        TTFS + " figures {GRID_FILE:q} > {log:q} 2>&1"


rule publish:
    input:
        view_markers("tables", *TABLES),
        records(),
    output:
        touch(view_markers("publish", "ttfs.results.tracking")),
    log:
        f"{LOGS}/publish.log",
    shell:
        TTFS + " publish {GRID_FILE:q} > {log:q} 2>&1"
