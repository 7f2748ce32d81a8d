"""What is made from records: tables, figures, and the MLflow store."""


localrules:
    tables,
    figures,
    page,
    publish,


rule tables:
    input:
        all_jobs(),
        records(),
    output:
        [
            report(
                f"{GRID.folder}/tables/{name}.csv",
                caption=f"../report/{name}.rst",
                category="Tables",
            )
            for name in (
                "summary", "layers", "steps", "classes", "sparsity", "hardware", "published",
            )
        ],
        [f"{GRID.folder}/tables/{name}.md" for name in ("summary", "hardware", "published")],
        [f"{GRID.folder}/tables/{name}.tex" for name in ("summary", "hardware", "published")],
        f"{GRID.folder}/tables/cells.csv",
        touch(view_markers("tables", *TABLES)),
    log:
        f"{LOGS}/tables.log",
    shell:
        TTFS + " tables {GRID_FILE:q} > {log:q} 2>&1"


# A figure that has nothing to show is not made, so the output is their folder; Snakemake empties it
# before.
rule figures:
    input:
        view_markers("tables", *TABLES),
        records(),
    output:
        directory(f"{GRID.folder}/figures"),
        touch(view_markers("figures", *FIGURES)),
    log:
        f"{LOGS}/figures.log",
    shell:
        TTFS + " figures {GRID_FILE:q} > {log:q} 2>&1"


rule page:
    input:
        view_markers("figures", *FIGURES),
        records(),
    output:
        report(f"{GRID.folder}/index.html", caption="../report/page.rst", category="Page"),
        touch(view_markers("page", *PAGE)),
    log:
        f"{LOGS}/page.log",
    shell:
        TTFS + " page {GRID_FILE:q} > {log:q} 2>&1"


rule publish:
    input:
        view_markers("page", *PAGE),
        records(),
    output:
        touch(view_markers("publish", "ttfs.results.tracking")),
    log:
        f"{LOGS}/publish.log",
    shell:
        TTFS + " publish {GRID_FILE:q} > {log:q} 2>&1"
