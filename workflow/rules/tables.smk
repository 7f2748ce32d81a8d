"""Tables of the grid, from records alone."""


rule tables:
    input:
        all_records,
        [shorten(path) for path in sorted((CONFIGS / "published").glob("*.yaml"))],
    output:
        report(f"results/{GRID.name}/tables/summary.csv", caption="../report/summary.rst", category="Tables"),
        report(f"results/{GRID.name}/tables/layers.csv", caption="../report/layers.rst", category="Tables"),
        report(f"results/{GRID.name}/tables/sparsity.csv", caption="../report/sparsity.rst", category="Tables"),
        report(f"results/{GRID.name}/tables/hardware.csv", caption="../report/hardware.rst", category="Tables"),
        report(f"results/{GRID.name}/tables/published.csv", caption="../report/published.rst", category="Tables"),
        f"results/{GRID.name}/tables/cells.csv",
        f"results/{GRID.name}/tables/summary.md",
        f"results/{GRID.name}/tables/hardware.md",
        f"results/{GRID.name}/tables/published.md",
    params:
        digest=code_digest("ttfs.stages.tables"),
        tolerance=GRID.settings["sparsity_tolerance"],
        cells=networks(),
    log:
        f"results/{GRID.name}/tables.log",
    benchmark:
        f"results/{GRID.name}/tables.benchmark.tsv"
    shell:
        TTFS + " tables {GRID_FILE:q} 2>&1 | tee {log}"
