"""Figures of the grid, from records and training curves."""


rule figures:
    input:
        all_records,
    output:
        [
            report(f"results/{GRID.name}/figures/{name}.svg", caption=f"../report/{name}.rst", category="Figures")
            for name in ("accuracy-by-spikes", "spikes-by-layer", "sparsity", "hardware", "pareto", "training-curves")
        ],
    params:
        digest=code_digest("ttfs.stages.figures"),
        tolerance=GRID.settings["sparsity_tolerance"],
        cells=networks(),
    log:
        f"results/{GRID.name}/figures.log",
    benchmark:
        f"results/{GRID.name}/figures.benchmark.tsv"
    shell:
        TTFS + " figures {GRID_FILE:q} 2>&1 | tee {log}"
