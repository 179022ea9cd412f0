(() => {
  const table = document.getElementById("heat");
  if (!table) return;
  const body = table.tBodies[0];
  const value = (row, column) => {
    const text = row.cells[column] ? row.cells[column].textContent : "";
    return column ? parseFloat(text.replace("\u2212", "-")) : text;
  };
  const compare = (a, b) => (typeof a === "string" ? (a < b ? -1 : a > b ? 1 : 0) : b - a);
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const column = head.cellIndex;
      const first = column ? "descending" : "ascending";
      const turned = head.getAttribute("aria-sort") === first;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", turned === (first === "descending") ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [value(row, column), row]);
      const known = rows.filter(([one]) => !Number.isNaN(one)).sort((a, b) => compare(a[0], b[0]));
      const unknown = rows.filter(([one]) => Number.isNaN(one));
      if (turned) known.reverse();
      body.append(...known.concat(unknown).map(([, row]) => row));
    });
  }
})();
