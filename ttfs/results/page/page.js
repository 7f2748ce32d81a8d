import DataTable from "datatables";

// Tables are whole without this script; it sorts, searches and filters them.
for (const table of document.querySelectorAll("table.data")) {
  const choose = { buttons: [{ extend: "colvis", columns: ".extra", text: "More columns" }] };
  new DataTable(table, {
    paging: false, info: false, order: [], autoWidth: false,
    columnDefs: [{ targets: "extra", visible: false }],
    layout: { topStart: table.querySelector("th.extra") ? choose : null },
  });
}

for (const form of document.querySelectorAll("form.filters")) {
  const table = new DataTable.Api("#" + form.dataset.for);
  const selects = [...form.querySelectorAll("select")];
  const slider = form.querySelector("input[type=range]");
  const steps = slider ? JSON.parse(slider.dataset.steps) : [];
  if (slider) {
    slider.max = slider.value = steps.length;
    slider.defaultValue = steps.length;
  }
  const budget = () => (slider && Number(slider.value) < steps.length ? steps[slider.value] : Infinity);

  table.search.fixed("filters", (words, row, index) => {
    const cells = table.row(index).node().cells;
    const chosen = selects.every((select) =>
      !select.value || cells[select.dataset.column].textContent.trim() === select.value);
    if (!chosen || budget() === Infinity) return chosen;
    const spikes = cells[slider.dataset.column].dataset.order;
    return spikes !== "" && Number(spikes) <= budget();
  });

  const show = () => {
    if (slider) {
      const text = budget() === Infinity ? "no limit" : String(budget());
      form.querySelector("output").value = text;
      slider.setAttribute("aria-valuetext", text);
    }
    table.draw();
  };
  form.addEventListener("input", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
}
document.documentElement.dataset.ready = "yes";
